"""Looking at artifacts, checking them, letting go of what nothing needs."""

from __future__ import annotations

import json
import sys

import click

from flows.cli.commands.options import AS_JSON, find, open_home
from flows.cli.completion import artifact_refs
from flows.cli.printing import say


@click.command()
@click.argument("ref", shell_complete=artifact_refs)
@AS_JSON
def lineage(ref: str, as_json: bool) -> None:
    """What an artifact or a model was made from. REF is STEP/KEY, a digest or NAME@champion.

    \b
    fromzero lineage demo-base@champion
    fromzero lineage pretrain --json
    """
    from tasks.views.lineage import ancestry
    from tasks.views.terminal import artifact_lines

    store = open_home()
    tree = ancestry(store, find(store, ref))
    say(json.dumps(tree) if as_json else "\n".join(artifact_lines.lineage(tree)))


@click.command()
@click.argument("ref", shell_complete=artifact_refs)
@click.option(
    "-n", "--rows", type=click.IntRange(min=0), default=5, show_default=True, help="How many rows of each table."
)
@click.option("--part", help="Only this part of the artifact.")
@click.option("--rejects", is_flag=True, help="What the step dropped, with reasons.")
def show(ref: str, rows: int, part: str | None, rejects: bool) -> None:
    """Statistics, files and rows of an artifact. REF is STEP, STEP/KEY (a start will do), a digest or NAME@champion.

    \b
    fromzero show validate_corpus
    fromzero show clean_shard/1caa7a --part train -n 20
    fromzero show clean_shard/1caa7a --rejects
    """
    from tasks.views.terminal import artifact_lines

    store = open_home()
    for line in artifact_lines.show(store, find(store, ref), rows, part, rejects):
        say(line)


@click.command()
@click.argument("ref", required=False, shell_complete=artifact_refs)
@click.option("--forget", is_flag=True, help="Remove what is damaged, so that the next run makes it again.")
def verify(ref: str | None, forget: bool) -> None:
    """Hash every stored file again, registered models' too.

    REF names one artifact; exits 1 if any byte differs.

    \b
    fromzero verify
    fromzero verify pretrain
    """
    from tasks.core.store import garbage
    from tasks.register import steps as register

    store = open_home()
    wrong = 0
    for line, damaged in garbage.verify(store, [find(store, ref)] if ref else store.manifests(), forget):
        say(line)
        wrong += damaged
    for line in [] if ref else garbage.broken(store):
        say(f"x {line}")
        wrong += 1
    for model, found in [] if ref else register.damaged():
        click.echo(f"x {model}: {'; '.join(found)}" if found else f"+ {model}")
        wrong += len(found)
    fix = "the next run makes them again" if forget else "`fromzero verify --forget` lets the next run make them again"
    say(f"{wrong} damaged: {fix}" if wrong else "all whole")
    sys.exit(1 if wrong else 0)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--keep-runs", type=click.IntRange(min=0), default=3, show_default=True,
              help="The newest runs of each recipe whose artifacts stay.")  # fmt: skip
@click.option(
    "--days",
    type=click.FloatRange(min=0),
    default=7.0,
    show_default=True,
    help="Younger artifacts and work directories stay.",
)
def gc(dry_run: bool, keep_runs: int, days: float) -> None:
    """Free what nothing needs. Artifacts and work directories that no ref, registered model or recent run needs.

    \b
    fromzero gc --dry-run
    fromzero gc --keep-runs 1 --days 0
    """
    from tasks.core.store import garbage
    from tasks.register import steps as register

    for line in garbage.garbage(open_home(), register.artifacts_of_models(), keep_runs, days, dry_run):
        say(line)
