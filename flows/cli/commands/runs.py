"""Runs: what there were, what they said, what differs between two, and stopping one."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from flows.cli.commands.options import AS_JSON, open_home
from flows.cli.completion import run_refs, step_names
from flows.cli.printing import say

RUN = click.argument("ref", metavar="RUN", shell_complete=run_refs)
LOOK_EVERY = 0.3
"""Seconds between looks for new lines of a log that is followed."""


def _known(store: Any) -> list[Any]:
    from flows.runs import history
    from tasks.core.store.open import home

    return history.runs(home(), store)


@click.command()
@AS_JSON
@click.option(
    "-n", "--number", type=click.IntRange(min=1), default=20, show_default=True, help="How many of the newest."
)
def runs(as_json: bool, number: int) -> None:
    """Runs of this home, newest first: under way and ended.

    \b
    fromzero runs
    fromzero runs -n 5 --json
    """
    from dataclasses import asdict

    found = _known(open_home())
    if as_json:
        click.echo(json.dumps({"runs": [{"id": run.id, **asdict(run)} for run in found[:number]]}))
        return
    from tasks.views.terminal.live import console
    from tasks.views.terminal.tables import runs_table

    if not found:
        say("no run yet: `fromzero run demo` makes one")
        return
    screen = console()
    screen.print(runs_table(found[:number], screen.width))
    if len(found) > number:
        say(f"and {len(found) - number} older ones: -n {len(found)} shows all")


@click.command()
@RUN
@click.argument("step", required=False, shell_complete=step_names)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
def logs(ref: str, step: str | None, follow: bool) -> None:
    """What the steps of a run printed. RUN is an id, the start of one, a name, or `last`; STEP may name a shard.

    \b
    fromzero logs last
    fromzero logs last pretrain --follow
    fromzero logs 3f2a 'clean_shard[chat-000]'
    """
    from flows.runs import history
    from tasks.core.store.open import home

    store = open_home()
    run = history.find(_known(store), ref)
    read = history.Logs(home(), run.run, step)
    if run.state != "running" or not follow:
        read.check()
    prefixed = step is None or len(read.labels()) > 1

    def show(lines: Any) -> None:
        for line in lines:
            say(f"{line.label}: {line.text}" if prefixed else line.text)

    try:
        while follow and history.is_running(home(), run.run):
            show(read.lines())
            time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:  # it is how one stops looking
        return
    show(read.lines())
    show(read.rest())


@click.command()
@RUN
@click.option("--wait", default=60.0, show_default=True, metavar="SECONDS", help="How long its end is waited for.")
def cancel(ref: str, wait: float) -> None:
    """Stop a run that is under way. Training saves first, and the same `run` goes on from there.

    \b
    fromzero cancel last
    """
    from flows.runs import cancel as cancelling
    from flows.runs import history
    from tasks.core.store.open import home

    cancelling.cancel(home(), history.find(_known(open_home()), ref), wait, say)


@click.command()
@RUN
@click.option("--reason", help="Show the documents that were dropped for this reason.")
@click.option("-n", "--rows", type=click.IntRange(min=1), default=10, show_default=True, help="How many of them.")
@AS_JSON
def rejects(ref: str, reason: str | None, rows: int, as_json: bool) -> None:
    """What a run dropped. Counts by stage and reason, or the documents of one reason.

    \b
    fromzero rejects last
    fromzero rejects last --reason near_duplicate -n 20
    """
    from flows.runs import history
    from tasks.core.store.open import home
    from tasks.corpus import rejects as looking

    store = open_home()
    record = history.record_of(store, home(), ref)
    found = looking.rows(store, record, reason, rows) if reason else looking.counted(store, record)
    if as_json:
        click.echo(json.dumps({"rows" if reason else "reasons": found}))
        return
    from tasks.views.terminal.live import console
    from tasks.views.terminal.tables import show_reasons, show_rejects

    (show_rejects if reason else show_reasons)(console(), found)


@click.command()
@click.argument("old", metavar="OLD", shell_complete=run_refs)
@click.argument("new", metavar="NEW", shell_complete=run_refs)
@AS_JSON
def diff(old: str, new: str, as_json: bool) -> None:
    """What differs between two runs. Options, data, code, metrics and samples, from run OLD to run NEW.

    \b
    fromzero diff 3f2a last
    """
    from flows.runs import diff as run_diff
    from flows.runs import history
    from tasks.core.store.open import home

    store = open_home()
    records = [history.record_of(store, home(), ref) for ref in (old, new)]
    found = run_diff.diff(store, *records)
    if as_json:
        click.echo(json.dumps(found))
        return
    from tasks.views.terminal.live import console
    from tasks.views.terminal.tables import show_diff

    show_diff(console(), found)
