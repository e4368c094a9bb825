"""What a run looks like to whoever did not watch it."""

from __future__ import annotations

from pathlib import Path

import click

from flows.cli.commands.options import open_home
from flows.cli.completion import run_refs
from flows.cli.printing import say


@click.command()
@click.argument("run", required=False, shell_complete=run_refs)
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it.")
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
def report(run: str | None, out: Path | None, show: bool) -> None:
    """A run on one page: a self-contained HTML file.

    RUN is its name, its id or the start of one; by default the newest. The page is written to HOME/reports/ and its
    path is printed.

    \b
    fromzero report
    fromzero report demo-2026-11-24-020000 -o report.html
    """
    from flows.runs import history
    from tasks.core.store.open import home
    from tasks.views.report import page

    store = open_home()
    ended = [found.run for found in history.runs(home(), store) if found.state not in history.UNDER_WAY]
    record = history.record_of(store, home(), run or next(iter(ended), history.LAST))
    name = next(name for name, known in store.runs().items() if known["run"] == record["run"])
    path = page.write(store, name, record, out)
    say(path)
    if show:
        click.launch(str(path))
