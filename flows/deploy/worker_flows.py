"""The flows that a worker carries out: the pipeline, by a schedule or a form, and the question to a person."""

from __future__ import annotations

import os
import time
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.states import Completed
from pydantic import Field

from conf.schema.recipe import Recipe
from conf.schema.store import StoreConf
from flows.runs import running, standing
from tasks.core.engine.prefect_run import run_name, task_runner
from tasks.core.errors import Refused, StepError
from tasks.core.services import prefect_api, run_events
from tasks.core.store.open import home, open_store
from tasks.core.store.store import Store
from tasks.register import steps as register
from tasks.views.terminal.live import Terminal

PATIENCE = 120.0
"""Seconds that a cancelled run may take to save and leave before the one that replaces it gives up."""


class Logged(Terminal):
    """What a person would see in a terminal goes to the run's log."""

    def __init__(self) -> None:
        super().__init__()
        self.logger = get_run_logger()  # lines come from threads too, which do not know their run

    def say(self, text: str = "", style: str = "") -> None:
        """One line of the log."""
        self.logger.info("%s", text)


def _named() -> str:
    recipe: Any = flow_run.parameters["recipe"]
    return run_name(recipe.name if isinstance(recipe, Recipe) else recipe["name"])


@flow(name="pipeline", flow_run_name=_named, task_runner=task_runner(), persist_result=False)
def pipeline(
    recipe: Recipe, until: str | None = None, refresh: tuple[str, ...] = (), replace: bool = False
) -> State[Any]:
    """From raw text to a promoted model: only what has changed since the last run is made again.

    `until` names the step after which to stop, `refresh` steps or stages to make again, `replace` cancels what runs
    already of this deployment.
    """
    standing.go_to_folder()
    if replace:
        _cancel_others()
    return running.run_inside(recipe, Logged(), tuple(refresh), until)


def _cancel_others() -> None:
    """Cancel the earlier runs of this deployment and wait until they have left; a later one does so with this."""
    url = os.environ["PREFECT_API_URL"]
    if deployment.id is None:
        return
    mine = _order(prefect_api.ask(url, f"flow_runs/{flow_run.id}"))
    chosen = {"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}, "deployment_id": {"any_": [str(deployment.id)]}}
    deadline, asked = time.monotonic() + PATIENCE, set()
    while earlier := [
        run for run in prefect_api.ask(url, "flow_runs/filter", {"flow_runs": chosen}) if _order(run) < mine
    ]:
        for run in earlier:
            if run["id"] not in asked:
                get_run_logger().info("cancelling %s, which is still under way", run["name"])
                prefect_api.cancel(url, run["id"], "replaced by a newer run")
                asked.add(run["id"])
        if time.monotonic() > deadline:
            names = ", ".join(run["name"] for run in earlier)
            raise StepError(f"{names} did not leave within {PATIENCE:.0f} s of being cancelled: `fromzero cancel` it")
        time.sleep(1.0)


def _order(run: dict[str, Any]) -> tuple[str, str]:
    return str(run["expected_start_time"]), str(run["id"])


@flow(name="watch", flow_run_name="{deployment}", persist_result=False)
def watch(recipe: Recipe, deployment: str, sources: tuple[str, ...] = ()) -> State[Any]:
    """Look at the sources of a deployment, and tell once of what no run has fetched: its trigger runs it then.

    Seconds and no downloads; nothing is made. With `sources` only those count.
    """
    standing.go_to_folder()
    new = running.unfetched(recipe, deployment, tuple(sources))
    if not new:
        return Completed(name="Unchanged", message="the sources have nothing new")
    about = run_events.resource("deployment", deployment)
    run_events.tell(run_events.NEW_DATA, about, f"new for {deployment}: {', '.join(new)}", shards=new)
    return Completed(name="New", message=f"new: {', '.join(new)}")


class Answer(RunInput):
    """A person's approval of a model that the gate has accepted."""

    approve: bool = Field(False, description="Promote it. Left unticked: refuse it.")
    reason: str = Field(min_length=3, description="Why; kept with the model's version.")
    by: str = Field(min_length=2, description="Your name.")
    logged_in: str = Field("", description="Leave it: the server writes here who is logged in.")

    @property
    def who(self) -> str:
        """Who says so, and as whom the server knows them; a server without our guard does not say."""
        return f"{self.by}, logged in as {self.logged_in}" if self.logged_in else self.by


@flow(name="approval", flow_run_name="{name} version {version}", persist_result=True, result_serializer="json")
def approval(
    name: str,
    version: int,
    hours: float,
    rows: list[tuple[str, str]],
    store: StoreConf | None = None,
    asked: str | None = None,
) -> State[Any]:
    """Ask a person whether a version that the gate accepted becomes champion.

    Waits suspended, holding no worker, for `hours`; Resume opens the form. With `asked`, the id of the run that asked,
    it is the end of that time: no answer is a refusal.
    """
    os.environ["FROMZERO_HOME"] = str(home())
    if asked is not None:
        return _too_late(name, version, hours, open_store(store), asked)
    given = suspend_flow_run(
        wait_for_input=Answer.with_initial_data(description=_question(rows)), timeout=int(hours * 3600), key="answer"
    )
    mine = str(flow_run.id)
    try:
        moved = register.answer(
            open_store(store), name, version, given.approve, given.reason, given.who, mine
        )  # fmt: skip
    except Refused as refused:
        return Completed(name="Refused", message=str(refused))
    if moved["moved"]:
        return Completed(name="Approved", message=f"version {version} is champion; {given.who}: {given.reason}")
    return Completed(name="Refused", message=f"{given.who}: {given.reason}")


def _question(rows: list[tuple[str, str]]) -> str:
    lines = [f"| {key} | {value.replace('|', chr(92) + '|')} |" for key, value in rows]
    return "\n".join(["**May this model become champion?**", "", "| | |", "|---|---|", *lines])


def _too_late(name: str, version: int, hours: float, store: Store, asked: str) -> State[Any]:
    why = f"nobody answered within {hours:g} h"
    try:
        register.answer(store, name, version, False, why, "the time limit", asked)
    except Refused as answered:
        return Completed(name="Answered", message=str(answered))
    register.end_form(name, version, why)
    return Completed(name="Refused", message=why)
