"""Registered models: moving the champion, asking them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from flows.cli.commands.options import AS_JSON, open_home
from flows.cli.completion import model_names, model_refs, version_refs
from flows.cli.printing import say

LONGEST = click.option(
    "-n", "--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True, help="Longest text, in tokens."
)
TEMPERATURE = click.option(
    "-t", "--temperature", type=click.FloatRange(min=0), default=0.8, show_default=True, help="0 for greedy."
)
SEED = click.option("--seed", default=0, show_default=True, help="Of the random choice: the same seed, the same text.")

LABELS_SHOWN = 5


@click.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", type=int)
@click.option("--reason", default="promoted by hand", show_default=True, help="Noted in the version and the journal.")
@click.option("--force", is_flag=True, help="Also if the gate refused it or never saw it.")
def promote(name: str, version: int, reason: str, force: bool) -> None:
    """Make VERSION the champion of NAME.

    \b
    fromzero promote demo-base 2
    """
    from tasks.register import steps as register

    moved = register.promote(open_home(), name, version, reason, force)
    _say_found(moved["found"])
    say(f"{name}: champion is now version {moved['to']} (before: {moved['from'] or 'none'})")


@click.command()
@click.argument("name", shell_complete=model_names)
def rollback(name: str) -> None:
    """Make the champion before this one champion again.

    The newest one that MLflow still has.

    \b
    fromzero rollback demo-base
    """
    from tasks.register import steps as register

    moved = register.rollback(open_home(), name)
    _say_found(moved["found"])
    say(f"{name}: champion is version {moved['to']} again (was: {moved['from'] or 'none'})")


def _say_found(found: str | None) -> None:
    """What people have done in MLflow meanwhile."""
    if found:
        say(f"found: {found}", err=True)


@click.command()
@click.argument("model", metavar="NAME[@champion|@VERSION]", shell_complete=model_refs)
@click.argument("prompt")
@LONGEST
@TEMPERATURE
@SEED
def generate(model: str, prompt: str, max_new_tokens: int, temperature: float, seed: int) -> None:
    """Continue PROMPT (a base model) or answer it (a chat model).

    \b
    fromzero generate demo-base@champion "Return the"
    """
    from tasks.register import steps as register

    open_home()
    text = prompt.encode(errors="surrogateescape").decode(errors="replace")  # what was typed may be no UTF-8
    register.generate(model, text, max_new_tokens, temperature, seed, lambda text: say(text, nl=False))
    click.echo()


@click.command()
@click.argument("model", metavar="NAME[@champion|@VERSION]", shell_complete=model_refs)
@click.argument("texts", metavar="TEXT…", nargs=-1, required=True)
@AS_JSON
def predict(model: str, texts: tuple[str, ...], as_json: bool) -> None:
    """Ask a model of any kind about each TEXT.

    Of a classifier all its labels with their probabilities, the likeliest first; of a model that finds spans each with
    its place; of others the number or the text.

    \b
    fromzero predict demo-classifier@champion "Return the shortest path between two nodes."
    """
    from tasks.register import steps as register

    open_home()
    asked = [text.encode(errors="surrogateescape").decode(errors="replace") for text in texts]
    found = register.predict(model, asked)
    rows = [one if isinstance(one, dict) else {"answer": one} for one in found]
    if as_json:
        click.echo(json.dumps([{"text": text, **row} for text, row in zip(asked, rows, strict=True)]))
        return
    for row in rows:
        say("  ".join(_shown(row)))


def _shown(row: dict[str, Any]) -> Iterator[str]:
    """A row for people: of probabilities the largest, in place of all; of spans each with its label and place."""
    ranked = [value for value in row.values() if isinstance(value, dict)]
    for shares in ranked:
        yield from (f"{label} {share:.3f}" for label, share in list(shares.items())[:LABELS_SHOWN])
    for value in () if ranked else row.values():
        if isinstance(value, list):
            yield from [f"{one['label']} {one['text']!r} at {one['start']}" for one in value] or ["nothing"]
        else:
            yield f"{value:.6g}" if isinstance(value, float) else str(value)


@click.command()
@click.argument("name", shell_complete=model_names)
@click.argument("old", metavar="A", shell_complete=version_refs)
@click.argument("new", metavar="B", shell_complete=version_refs)
@click.option("--resamples", type=click.IntRange(min=100), default=2000, show_default=True, help="Bootstrap resamples.")
@click.option("--confidence", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95,
              show_default=True, help="Probability that an interval covers.")  # fmt: skip
@AS_JSON
def compare(name: str, old: str, new: str, resamples: int, confidence: float, as_json: bool) -> None:
    """Compare two versions of a model on the same items. A paired bootstrap from A to B; nothing is promoted.

    \b
    fromzero compare demo-base 1 2
    fromzero compare demo-base previous champion
    """
    from tasks.evaluate import steps as evaluate
    from tasks.register import steps as register

    store = open_home()
    before, after = (register.measured(f"{name}@{which}") for which in (old, new))
    found = evaluate.compare_versions(store, before, after, resamples, confidence)
    if as_json:
        click.echo(json.dumps(found))
        return
    from tasks.views.terminal.live import console
    from tasks.views.terminal.tables import comparison_table

    console().print(comparison_table(found))


@click.command()
@click.argument("model", metavar="NAME[@champion|@VERSION]", shell_complete=model_refs)
@LONGEST
@TEMPERATURE
@SEED
def chat(model: str, max_new_tokens: int, temperature: float, seed: int) -> None:
    """Talk with a chat model; it remembers what was said. A piped line is a turn.

    \b
    fromzero chat demo-chat@champion
    echo "Hello!" | fromzero chat demo-chat@champion
    """
    from flows.cli.chat import talk
    from tasks.register import steps as register

    open_home()
    talk(register.converse(model, max_new_tokens, temperature, seed))
