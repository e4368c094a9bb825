"""Planning and running a recipe: the server, the interpreter, the record."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.compose import compose
from conf.schema.recipe import Recipe
from flows.pipeline import pipeline
from flows.runs import record, standing
from tasks.collect import steps as collect
from tasks.core import hashes
from tasks.core.checks import Check
from tasks.core.databases import home_databases
from tasks.core.engine.placing import Placing
from tasks.core.engine.trial import trials
from tasks.core.errors import HostError
from tasks.core.plan.costs import Prices
from tasks.core.plan.planner import Planner, Reached
from tasks.core.services import servers
from tasks.core.step import interpreted_by, labelled
from tasks.core.store.open import home, open_store
from tasks.core.store.store import Store
from tasks.core.tracking import mlflow_db
from tasks.corpus.funnel import source_of
from tasks.pretrain import steps as pretrain
from tasks.register import steps as register
from tasks.views.prefect.pages import RecipePages
from tasks.views.run_view import RunView
from tasks.views.terminal.live import Terminal

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from tasks.core.engine.prefect_engine import Engine


def unfetched(recipe: Recipe, deployment: str, sources: tuple[str, ...] = ()) -> list[str]:
    """The shards that the sources would give and no run has fetched, each told once to a deployment (RECIPE/FILE).

    With `sources` only theirs count. Downloads and makes nothing.
    """
    hand_down(recipe)
    fetch = collect.fetch_shard.name
    rows = [row for row in plan(recipe, until=fetch).rows if row.step == fetch and row.action != "hit"]
    rows = [row for row in rows if not sources or source_of(row.shard) in sources]
    store, name = open_store(recipe.store), f"watch/{deployment}"
    told, etag = store.get_ref(name)
    new = [str(row.shard) for row in rows if row.key not in (told or {"keys": []})["keys"]]
    if new:
        store.set_ref(name, {"keys": [row.key for row in rows]}, etag)
    return new


def hand_down(recipe: Recipe) -> Path:
    """Let every process of this command find the same home and store."""
    folder, store = home(), recipe.store
    if store.kind == "local" and store.path:  # the others stand elsewhere
        store = store.model_copy(update={"path": str(Path(store.path).absolute())})
    os.environ["FROMZERO_HOME"] = str(folder)
    os.environ["FROMZERO_STORE"] = store.model_dump_json()
    return folder


def make_home(folder: Path) -> None:
    """Make the home, its owner's alone; raises `HostError` if it cannot be written."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
        if about.st_uid == os.geteuid() and about.st_mode & 0o077:
            folder.chmod(0o700)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise HostError(
            f"{folder} cannot be written ({error.strerror}): set FROMZERO_HOME to a folder that can"
        ) from error


def prepare(postgres: str | None = None) -> None:
    """Create or migrate Prefect's and MLflow's databases, in a Postgres if that is named (`home_databases.choose`)."""
    from tasks.core.tracking import tracking

    make_home(home())
    home_databases.choose(home(), postgres)
    servers.migrate(home())
    tracking.prepare(home())


def plan(recipe: Recipe, refresh: tuple[str, ...] = (), until: str | None = None, *, looks_in: bool = False) -> Planner:
    """What a run would do, and, if it `looks_in`, what of its data will be cut or left out; starts nothing and needs no
    server."""
    prices = Prices.of(recipe.engine)
    planner = Planner(open_store(recipe.store), refresh, until, recipe.engine.on_code_change, prices, looks_in)
    try:
        with interpreted_by(planner), hashes.left_alone():
            pipeline(recipe)
    except Reached:
        return planner
    planner.check_names()
    return planner


def run(
    recipe: Recipe, terminal: Terminal, refresh: tuple[str, ...] = (), until: str | None = None
) -> tuple[str, RunView]:
    """Carry the recipe out; returns how it ended, and the run as people are to see it, with its record.

    It ended completed, refused, waiting (for a person's approval) or reached (the step of `until`).
    """
    folder = hand_down(recipe)
    make_home(folder)
    mlflow_db.check(folder)
    given = os.environ.get("PREFECT_API_URL")
    if given:
        servers.check_given(given)
        if servers.serves(folder, given):
            os.environ.update(servers.client(folder, given))
    own = None if given else servers.Membership(folder)
    try:
        os.environ.update(servers.environment(folder))
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        planned = announced_plan(recipe, terminal, refresh, until)
        if own is not None:
            os.environ.update(own.environ())
        with terminal:
            return _carry_out(recipe, terminal, planned, lambda engine: _execute(engine, recipe))
    finally:
        if own is not None:
            for name in servers.client(folder, ""):
                os.environ.pop(name, None)
            own.leave()


def try_places(engine: str) -> list[Check]:
    """What a step of no work finds in each place of an engine of conf/engine/."""
    recipe = compose("demo", (f"engine={engine}",))
    make_home(hand_down(recipe))
    if (url := os.environ.get("PREFECT_API_URL")) is None and (found := servers.running(home())) is not None:
        url = os.environ["PREFECT_API_URL"] = str(found["url"])
    if url and servers.serves(home(), url):
        os.environ.update(servers.client(home(), url))
    return list(trials(open_store(recipe.store), recipe.engine, Terminal().say))


def _execute(engine: Engine, recipe: Recipe) -> str:
    from tasks.core.engine.prefect_run import execute

    return execute(engine, recipe.name, lambda: pipeline(recipe), labels_of(recipe))


def run_inside(
    recipe: Recipe, terminal: Terminal, refresh: tuple[str, ...] = (), until: str | None = None
) -> State[Any]:
    """Carry the recipe out in the Prefect flow that is running; the state in which that flow is to end."""
    from tasks.core.engine.prefect_run import carry as carry_inside

    folder = hand_down(recipe)
    make_home(folder)
    planned = announced_plan(recipe, terminal, refresh, until)
    ended: list[State[Any]] = []

    def carry(engine: Engine) -> str:
        ended.append(carry_inside(engine, recipe.name, lambda: pipeline(recipe)))
        return str(ended[0].data)

    own = servers.Membership(folder) if servers.serves(folder, os.environ.get("PREFECT_API_URL")) else None
    try:
        _carry_out(recipe, terminal, planned, carry)
    finally:
        if own is not None:
            own.leave()
    return ended[0]


def announced_plan(recipe: Recipe, terminal: Terminal, refresh: tuple[str, ...], until: str | None) -> Planner:
    """The plan, its counts said; raises `HostError` if it trains on a GPU that is not here or cannot make anything."""
    planned = plan(recipe, refresh, until)
    if why := planned.unwritable():
        raise HostError(why)
    placing = Placing(recipe.engine)
    todo = [row for row in planned.rows if row.action != "hit"]
    trains = recipe.pretrain is not None and any(row.step == "pretrain" for row in todo)
    if recipe.pretrain and trains and placing.of(planned.steps["pretrain"]).here:
        pretrain.check_device(recipe.pretrain.run)
    placing.check(
        (replace(planned.steps[row.step], resources=row.resources), labelled(row.step, row.shard)) for row in todo
    )
    counts = {action: sum(row.action == action for row in planned.rows) for action in ("hit", "run", "wait")}
    terminal.say(f"{recipe.name}: {counts['hit']} hits, {counts['run']} to run, {counts['wait']} wait on those")
    terminal.expect((planned.steps[row.step].stage, row.step) for row in planned.rows)
    return planned


def _carry_out(
    recipe: Recipe, terminal: Terminal, planned: Planner, act: Callable[[Engine], str]
) -> tuple[str, RunView]:
    """Let an engine act, and keep the record of what it did, however that ends."""
    engine_class = _imported_engine()
    store = open_store(recipe.store)
    engine = engine_class(
        store, home(), recipe.engine, terminal, planned.refresh, planned.until, pages_of(recipe, store)
    )  # fmt: skip
    if recipe.approval.by == "human" and any(row.step == "promote_model" for row in planned.rows):
        register.check_form()
    started, state = time.time(), "failed"
    try:
        state = act(engine)
    except BaseException as error:
        state = "failed" if isinstance(error, Exception) else "interrupted"
        kept = record.record_of(recipe, engine, planned, state, started) | {"error": record.said(error)}
        record.keep(engine, terminal, kept, reported=isinstance(error, Exception))
        error.record = kept  # type: ignore[attr-defined]
        terminal.failures(engine.outcomes, home() / "logs" / engine.run_id, error)
        raise
    kept = record.record_of(recipe, engine, planned, state, started)
    record.keep(engine, terminal, kept, reported=any(step["state"] != "cached" for step in kept["steps"]))
    return state, RunView.running(store, kept, engine.outcomes)


def pages_of(recipe: Recipe, store: Store) -> RecipePages:
    """What makes the pages of a recipe's runs."""
    return RecipePages(store, {name: source.kind for name, source in recipe.data.sources.items()})


def labels_of(recipe: Recipe) -> tuple[str, ...]:
    """Tags of the recipe's flow runs: recipe, engine, models, and which of them is the primary one."""
    models = [conf.register for conf in recipe.models.values() if conf.register]
    primary = [f"primary:{conf.name}" for conf in models if conf.primary]
    return (recipe.name, f"engine:{recipe.engine.kind}", *(f"model:{conf.name}" for conf in models), *primary)


def _imported_engine() -> type[Engine]:
    """Prefect takes over a second to import, a quarter less without the collector looking at every new class."""
    gc.disable()
    try:
        standing.prefect_by_environment()
        from tasks.core.engine.prefect_engine import Engine
    finally:
        gc.enable()
        gc.freeze()
    return Engine
