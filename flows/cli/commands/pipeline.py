"""Planning and running recipes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from flows.cli.commands.options import POSTGRES, takes_recipe
from flows.cli.printing import say

if TYPE_CHECKING:
    from conf.schema.recipe import Recipe


@click.command()
@takes_recipe
def plan(recipe: Recipe, until: str | None, refresh: tuple[str, ...], as_json: bool) -> None:
    """Say what a run would do, and why; starts nothing.

    \b
    fromzero plan demo
    fromzero plan mine.yaml tokenizer.vocab_size=8192
    """
    from dataclasses import asdict

    from flows.runs import running
    from tasks.views.terminal.live import console, plan_lines, plan_table

    running.hand_down(recipe)
    planned = running.plan(recipe, refresh, until, looks_in=True)
    rows, prices, problem = planned.rows, planned.prices, planned.unwritable()
    if as_json:
        click.echo(json.dumps({"steps": [asdict(row) for row in rows], **({"problem": problem} if problem else {})}))
    else:
        screen = console()
        screen.print(plan_table(rows, screen.width, prices))
        for line in plan_lines(rows, prices):
            screen.print(line, markup=False)
        if problem:
            screen.print(f"this cannot run: {problem}", markup=False)


@click.command()
@takes_recipe
@click.option("-v", "--verbose", is_flag=True, help="Show cached steps and every line of the steps.")
def run(recipe: Recipe, until: str | None, refresh: tuple[str, ...], as_json: bool, verbose: bool) -> None:
    """Run a recipe: only what changed is made again.

    \b
    fromzero run demo
    fromzero run text data.sources.mine.paths=[notes]
    fromzero run mine.yaml --until check_tokens
    fromzero run demo --refresh clean -v
    """
    from flows.runs import running
    from tasks.views.terminal.live import Terminal
    from tasks.views.terminal.summary import summarise

    terminal = Terminal(verbose, quiet_stdout=as_json)
    state, view = running.run(recipe, terminal, refresh, until)
    if as_json:
        click.echo(json.dumps(view.run.record))
    else:
        summarise(terminal.console, view)
    if state == "refused":
        sys.exit(4)


@click.command()
@POSTGRES
def setup(postgres: str | None) -> None:
    """Create or migrate both databases; a no-op when that is done.

    \b
    fromzero setup
    fromzero setup --postgres postgresql://fromzero@db.example.com/team
    """
    from conf.compose import SERVICES, read_model
    from conf.schema.services import ServicesConf
    from flows.runs import running
    from tasks.core.store.open import home

    given = (f"database={postgres}",) if postgres else ()
    running.prepare(read_model(ServicesConf, SERVICES, given).database)
    say(f"ready: {home()}")
