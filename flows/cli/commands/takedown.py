"""Taking documents down: where they are, which models know them, and every later run without them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

from flows.cli.commands.options import AS_JSON, open_home


@click.command()
@click.argument("doc", required=False)
@click.option("--yes", is_flag=True, help="Take it down: every later run goes without it.")
@click.option("--duplicates", is_flag=True, help="With it what was dropped for being like it.")
@click.option("--undo", is_flag=True, help="Let it come back with the next run.")
@AS_JSON
def takedown(doc: str | None, yes: bool, duplicates: bool, undo: bool, as_json: bool) -> None:
    """Run without a document. Which artifacts and models contain it; with --yes later runs leave it out.

    DOC is a document's id, the start of one, its uri, or the web address of a page from a web archive; without it, what
    is taken down is listed.

    \b
    fromzero takedown 9f3c21
    fromzero takedown articles/letter.txt --yes
    fromzero takedown 9f3c21 --undo
    """
    from tasks.corpus import takedown as down

    if doc is None and (yes or duplicates or undo):
        raise click.UsageError("--yes, --duplicates and --undo need a document: `fromzero takedown DOC`")
    if undo and (yes or duplicates):
        raise click.UsageError("--undo goes without --yes and --duplicates")
    store = open_home()
    if doc is None:
        found: dict[str, Any] = {"documents": down.in_force(store.get_ref(down.REF)[0])}
    elif undo:
        found = {"undone": down.undo(store, doc), "commands": _commands(store, ())}
    else:
        found = _look(store, doc, yes, duplicates)
    if as_json:
        click.echo(json.dumps(found))
        return
    from tasks.views.terminal import tables
    from tasks.views.terminal.live import console

    (tables.show_takedown if doc and not undo else tables.show_taken_down)(console(), found)


def _look(store: Any, doc: str, yes: bool, duplicates: bool) -> dict[str, Any]:
    """What is known of a document, as --json prints it; recorded as taken down with `yes`."""
    from tasks.corpus import document_index
    from tasks.corpus import takedown as down
    from tasks.register import steps as register

    documents = document_index.resolve(store, doc)
    found = document_index.look(store, [one["id"] for one in documents])
    if duplicates and found.duplicates:
        documents += found.duplicates
        found = document_index.look(store, [one["id"] for one in documents])
    ids = [one["id"] for one in documents]
    if yes:
        roots = [digest for step in down.ROOTS for digest in found.looked.get(step, ())]
        down.record(store, documents, found.held(ids, down.ROOTS), roots)
    known = {one["id"] for one in down.in_force(store.get_ref(down.REF)[0])}
    made = {f"{step}/{key}": sides for (step, key), (_, sides) in found.made.items()}
    models = [
        {**one, "parts": sorted(made[one["artifact"]])} for one in register.registered() if one["artifact"] in made
    ]
    return {
        "documents": [
            {**{name: one[name] for name in ("id", "source", "uri")}, "fate": found.fate(one["id"])}
            | {"taken_down": one["id"] in known}
            for one in documents
        ],
        "artifacts": found.rows(),
        "models": models,
        "duplicates": found.duplicates,
        "commands": _commands(store, {sight.place for sight in found.sights}),
    }


def _commands(store: Any, places: Iterable[tuple[str, str]]) -> list[str]:
    """The command lines of the recipes whose runs came by one of these artifacts (by any, if there are none)."""
    wanted, found = set(places), {}
    for record in store.runs().values():
        if not wanted or wanted & {(step["step"], step["key"]) for step in record["steps"]}:
            found[record["recipe"]] = record.get("command") or f"fromzero run {record['recipe']}"
    return [_bare(command) for command in found.values()]


def _bare(command: str) -> str:
    """A command line without its options: recipe and KEY=VALUE stay."""
    import shlex

    words, kept = iter(shlex.split(command)), []
    for word in words:
        if word in ("--until", "--refresh", "--on-code-change"):
            next(words, None)
        elif not word.startswith("-"):
            kept.append(word)
    return shlex.join(kept)
