"""The record of a run: what it did, in JSON, for whoever looks later."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.schema.recipe import Recipe
from tasks.core import liveness, run_warnings
from tasks.core.artifact import Manifest
from tasks.core.errors import FromzeroError, from_exception
from tasks.core.plan.planner import Planner
from tasks.core.services import links
from tasks.core.urls import bare
from tasks.formats.evaluation import SAMPLES_FILE
from tasks.models import kind as kinds
from tasks.register import steps as register
from tasks.views.report import cost_section
from tasks.views.run_data import gather, registered
from tasks.views.terminal.live import Terminal

if TYPE_CHECKING:
    from tasks.core.engine.prefect_engine import Engine


def keep(engine: Engine, terminal: Terminal, record: dict[str, Any], reported: bool) -> None:
    """Keep the record of a run, and write its report if it is to be `reported` (a run that only reused is not: a report
    costs a second). That either cannot be kept must not hide how the run ended."""
    when = time.strftime("%Y%m%dT%H%M%S", time.gmtime(record["started"]))
    name = f"{when}-{liveness.short(engine.run_id) or 'none'}"
    if reported:
        try:
            from tasks.views.report import page

            record["urls"]["report"] = str(page.write(engine.store, name, record))
        except Exception as error:
            terminal.say(f"the report of this run could not be written: {error}", "yellow")
    try:
        engine.store.record_run(name, record)
    except (FromzeroError, OSError) as error:
        terminal.say(f"the record of this run could not be kept: {error}", "yellow")


def said(error: BaseException) -> str:
    """Why a run ended before its end."""
    return str(from_exception(error)) if isinstance(error, Exception) else "interrupted"


def _command() -> str | None:
    """The command line that was typed, without user and password in URLs; None where something else started the run."""
    typed = Path(sys.argv[0]).name == "fromzero" or Path(sys.argv[0]).parts[-3:] == ("flows", "cli", "main.py")
    return bare(shlex.join(["fromzero", *sys.argv[1:]])) if typed else None


def record_of(recipe: Recipe, engine: Engine, planned: Planner, state: str, started: float) -> dict[str, Any]:
    """What a run did: its steps, metrics, samples, models, places to look further, options and code, as JSON."""
    fields = ("step", "shard", "state", "key", "digest", "seconds", "attempts", "message")
    steps = [{name: asdict(outcome)[name] for name in fields} for outcome in engine.outcomes]
    for row in planned.rows[len(steps) :] if state in ("failed", "interrupted") else []:
        steps.append(
            dict.fromkeys(fields)
            | {"step": row.step, "shard": row.shard, "state": "skipped", "attempts": 0}
            | {"message": ""}
        )
    metrics: dict[str, Any] = {}
    for outcome in engine.outcomes:
        if outcome.stats.get("metrics") and outcome.label not in metrics:
            metrics[outcome.label] = outcome.stats["metrics"]
    record = {
        "run": engine.run_id,
        "name": engine.run_name,
        "recipe": recipe.name,
        "state": state,
        "started": started,
        "seconds": round(time.time() - started, 3),
        "steps": steps,
        "warnings": [asdict(one) for one in run_warnings.of(engine.outcomes)],
        "metrics": metrics,
        "samples": _samples(engine),
        "models": [_model(found) for found in registered(engine.outcomes)],
        "urls": _urls(engine),
        "git": engine.git,
        "command": _command(),
        "config": recipe.model_dump(mode="json"),
    }
    return record | {"cost": _cost(engine, record)}


def _cost(engine: Engine, record: dict[str, Any]) -> float | None:
    """The cost of the run as its report has it."""
    if not cost_section.prices(record["config"]).known:  # spares a look at every artifact
        return None
    total = cost_section.total(cost_section.efforts(gather(engine.store, "", record))).cost
    return None if total is None else round(total, 6)


def _samples(engine: Engine) -> dict[str, Any]:
    """What the models of this run wrote, by the step that evaluated them."""
    found: dict[str, Any] = {}
    for outcome in engine.outcomes:
        if kinds.measured_by(outcome.step) is None or not (outcome.digest and outcome.key):
            continue
        manifest = engine.store.look(outcome.step, outcome.key)
        if isinstance(manifest, Manifest) and any(file.path == f"content/{SAMPLES_FILE}" for file in manifest.files):
            found.setdefault(outcome.label, engine.store.artifact(manifest).read_json(SAMPLES_FILE))
    return found


def _model(found: dict[str, Any]) -> dict[str, Any]:
    shown = {name: found.get(name) for name in ("name", "version", "kind", "primary", "replaced")}
    return {**shown, "aliases": register.aliases_of(found["name"], found["version"])}


def _urls(engine: Engine) -> dict[str, str]:
    return {"prefect": links.flow_run(engine.home, engine.run_id), "mlflow": links.mlflow_pages(engine.home)}
