"""The servers, the worker and the schedules of a home."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from flows.cli.commands.options import AS_JSON, POSTGRES
from flows.cli.printing import say


@click.command()
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE …]")
@click.option("--pool", metavar="NAME", help="Lend this machine to steps of runs elsewhere, until it is ended.")
@click.option("--limit", type=click.IntRange(1), help="With --pool: steps at once; else one for each GPU.")
@POSTGRES
def up(overrides: tuple[str, ...], postgres: str | None, pool: str | None, limit: int | None) -> None:
    """Start servers, pages, worker and schedules.

    Prefect's and MLflow's servers, a worker, and the deployments in conf/deployments: they run until `down`, and are
    started again when they die. Nothing happens to what is up already.

    With --pool it carries out steps that runs send to that work pool (engine.places), on any machine that sees the
    store: FROMZERO_STORE, and PREFECT_API_URL with PREFECT_API_AUTH_STRING, say which. It stays in the foreground; when
    it is ended, steps under way save and go on elsewhere.

    \b
    fromzero up
    fromzero up prefect_port=4300 mlflow_port=5100
    """
    from conf.compose import SERVICES, read_model
    from conf.schema.services import ServicesConf
    from flows.deploy import up_down
    from tasks.core.services import servers

    home = _home()
    if pool is not None:
        from flows.deploy import pool_worker

        if overrides:
            raise click.UsageError(f"--pool starts no servers: leave {overrides[0]} out")
        pool_worker.serve(home, pool, limit, click.echo)
        return
    if limit is not None:
        raise click.UsageError("--limit belongs to --pool; the worker of `up` has the option limit=2")
    conf = read_model(ServicesConf, SERVICES, (*overrides, *([f"database={postgres}"] if postgres else [])))
    found = up_down.up(home, conf, click.echo)
    for name, pages in found.items():
        click.echo(f"{name:<8} {up_down.link(home, pages)}")
    if servers.asks(home):
        click.echo("a link lets a browser in once; `fromzero status` prints more, `fromzero login NAME` for others")
    else:
        click.echo(up_down.ASKS_NOBODY)
    click.echo(f"up; logs in {home / 'logs' / 'services'}; `fromzero status` looks, `fromzero down` stops everything")


@click.command()
@click.option("--finish", is_flag=True, help="Let runs end as they would, instead of saving and stopping now.")
def down(finish: bool) -> None:
    """Stop what `up` started; nothing is left.

    Runs under way save and stop first: the same command, or the schedule's next time, goes on where they were.

    \b
    fromzero down
    fromzero down --finish
    """
    from flows.deploy import up_down

    up_down.down(_home(), finish, say)


@click.command()
@AS_JSON
def status(as_json: bool) -> None:
    """How servers, schedules, runs and disk are.

    Exits 1 if something that should run does not.

    \b
    fromzero status
    fromzero status --json
    """
    from flows.deploy import up_down
    from tasks.core.services import servers
    from tasks.views.terminal.live import console, status_lines

    found = up_down.status(_home())
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, about in found["services"].items():
            if about["state"] == "healthy" and name in up_down.PAGES:
                about["url"] = up_down.link(_home(), about["url"])
        for line in status_lines(found):
            console().print(line, markup=False)
        if found["services"] and not servers.asks(_home()):
            click.echo(up_down.ASKS_NOBODY)
    sick = found["up"] and any(about["state"] == "down" for about in found["services"].values())
    sys.exit(1 if sick or (found["up"] and not found["services"]) else 0)


@click.command()
@click.argument("name", required=False)
@click.option(
    "--role", type=click.Choice(["reader", "promoter", "owner"]), help="What they may do; reader if not said."
)
@click.option("--env", is_flag=True, help="Print name and password for programs, as a shell takes them.")
def login(name: str | None, role: str | None, env: bool) -> None:
    """Let somebody see the pages of `up`.

    Prints links that let a browser in once each, good for twelve hours; without NAME for you. A reader looks, a
    promoter also answers the approval form and moves aliases, an owner does everything, and runs code as you.

    \b
    fromzero login
    fromzero login ada --role promoter
    eval "$(fromzero login --env)"
    """
    from flows.deploy import up_down

    for line in up_down.login(_home(), name, role, env):
        click.echo(line)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--prune", is_flag=True, help="Take deployments out of force whose file is not among these any more.")
@AS_JSON
def deploy(files: tuple[Path, ...], dry_run: bool, prune: bool, as_json: bool) -> None:
    """Put schedules in force; says what changes.

    FILES are deployments, one YAML each; by default those in conf/deployments. Files that are as they were change
    nothing.

    \b
    fromzero deploy
    fromzero deploy weekly.yaml --dry-run
    """
    from conf.compose import SERVICES, read_model
    from conf.schema.services import ServicesConf
    from tasks.core.errors import HostError
    from tasks.core.services import servers

    home = _home()
    found, url = servers.running(home), os.environ.get("PREFECT_API_URL")
    if not url:
        if found is None or servers.wanted(home) is None:
            raise HostError("there is no server to deploy to: `fromzero up` first, or set PREFECT_API_URL to one")
        os.environ.update(servers.environment(home))
        url = found["url"]
    if servers.serves(home, url):
        os.environ.update(servers.client(home, url))
    from flows.runs import standing

    standing.prefect_by_environment()
    from flows.deploy import deployments

    conf = servers.wanted(home) or read_model(ServicesConf, SERVICES)
    changes = deployments.compare(list(files) or deployments.shipped(), conf.pool, prune)
    if as_json:
        click.echo(json.dumps({"deployments": [change.plain() for change in changes]}))
    else:
        for change in changes:
            say(change.shown())
    if not dry_run:
        deployments.carry_out(changes, conf)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@AS_JSON
def backup(folder: Path, as_json: bool) -> None:
    """Copy databases, store and models into FOLDER.

    Servers and runs may go on meanwhile. Given the folder of an earlier backup only what is new is copied. Another
    store than the home's is named by FROMZERO_STORE.

    \b
    fromzero backup /mnt/backup/fromzero
    """
    from flows.cli.commands.options import open_home
    from tasks.core.services import backup as copies

    found = copies.backup(_home(), open_home(), folder, lambda line: say(line, err=True))
    _copied(folder, found, as_json)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@POSTGRES
@AS_JSON
def restore(folder: Path, postgres: str | None, as_json: bool) -> None:
    """Make a new home of a backup in FOLDER. Each file is checked by its hash.

    FROMZERO_HOME names the new home. Interrupted, the same command goes on.

    \b
    FROMZERO_HOME=~/restored fromzero restore /mnt/backup/fromzero
    fromzero restore /mnt/backup/team --postgres postgresql://fromzero@db.example.com/restored
    """
    from conf.compose import SERVICES, read_model
    from conf.schema.services import ServicesConf
    from flows.cli.commands.options import open_home
    from flows.runs.running import make_home
    from tasks.core.services import backup as copies

    given = (f"database={postgres}",) if postgres else ()
    conf = read_model(ServicesConf, SERVICES, given)
    make_home(_home())
    found = copies.restore(_home(), open_home(), folder, conf.database, lambda line: say(line, err=True))
    _copied(folder, found, as_json)


def _copied(folder: Path, index: dict[str, Any], as_json: bool) -> None:
    counts = {name: len(index[name]) for name in ("artifacts", "named", "files")}
    kinds = {name: about["dialect"] for name, about in index["databases"].items()}
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "made": index["made"], "databases": kinds, **counts}))
        return
    say(
        f"{folder}: {counts['artifacts']} artifacts, {counts['named']} refs and records of runs, {counts['files']} "
        f"files of models and runs, databases: {', '.join(f'{name} ({kind})' for name, kind in kinds.items())}"
    )


@click.command("train-node")
@click.argument("rendezvous", required=False, metavar="[HOST:PORT]")
def train_node(rendezvous: str | None) -> None:
    """Lend this machine to pretraining that another one runs.

    For recipes with pretrain.run.nodes above 1: one machine runs the recipe, each of the others this command, with the
    same FROMZERO_HOME on a file system that all share, or with the same bucket in FROMZERO_STORE. It takes part in one
    training after another until it is ended; training saves first. HOST:PORT, the recipe's pretrain.run.rendezvous,
    keeps it to one of several.

    \b
    fromzero train-node
    fromzero train-node node-1:29400
    """
    from tasks.pretrain import steps as pretrain

    _home()
    pretrain.take_part(say, rendezvous)


def _home() -> Path:
    from tasks.core.store.open import home

    os.environ["FROMZERO_HOME"] = str(home())
    return home()
