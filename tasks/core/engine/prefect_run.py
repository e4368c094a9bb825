"""The run around the tasks: a Prefect flow, ended as what it was, with all of it in Prefect."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from queue import Empty
from typing import Any, cast

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.context import TagsContext, tags
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError, TerminationSignal
from prefect.logging.handlers import APILogWorker
from prefect.runtime import deployment, flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.core.engine.grouped_tasks import THREADS
from tasks.core.engine.interrupts import heed_cancellation, insist
from tasks.core.engine.prefect_engine import Engine
from tasks.core.engine.publishing import presenting
from tasks.core.errors import FromzeroError, HostError, StepError, Transient, from_exception
from tasks.core.liveness import Announced
from tasks.core.plan.planner import Reached
from tasks.core.services import final_states, prefect_api, servers
from tasks.core.step import interpreted_by
from tasks.core.tracking.tracking import Tracking
from tasks.core.urls import bare

WORKER_SIGNALS = 15.0
"""Seconds in which a worker that lives signals a run that was cancelled."""
DRAIN_LIMIT = 20.0
"""Seconds that Prefect's logs and events may take to reach the server at the end."""
_FLOW_STATES = {
    "FINISHED": {"type": "COMPLETED", "name": "Completed"},
    "FAILED": {"type": "FAILED", "name": "Failed"},
    "KILLED": {"type": "CANCELLED", "name": "Cancelled", "message": final_states.GO_ON},
}
"""How Prefect calls the end of a run, by the name that MLflow has for it."""


def run_name(name: str) -> str:
    """What people see of a run: the recipe and the local time."""
    return f"{name}-{datetime.now().strftime('%Y-%m-%d-%H%M%S')}"


def task_runner() -> Any:
    """Where tasks wait for their children: threads, more than any machine runs children at once."""
    return ThreadPoolTaskRunner(max_workers=THREADS)


def execute(engine: Engine, name: str, wiring: Callable[[], Any], labels: tuple[str, ...] = ()) -> str:
    """Run the wiring as a Prefect flow of its own, tagged with `labels`; raises what stopped it, signals as Ctrl-C.

    Returns completed, refused, waiting or reached.
    """
    interrupts: list[BaseException] = []
    ends: list[State[Any] | Exception] = []

    def run() -> State[Any]:
        try:
            ends.append(carry(engine, name, wiring))
            return cast("State[Any]", ends[0])
        except (KeyboardInterrupt, TerminationSignal) as interrupt:  # Prefect would call it a crash
            interrupts.append(interrupt)
            return Cancelled(message=final_states.GO_ON)
        except Exception as error:
            ends.append(error)
            raise

    pipeline = Flow(run, name=name, flow_run_name=run_name(name), task_runner=task_runner(), persist_result=False)
    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), tags(*labels):
            state = pipeline(return_state=True)
        if interrupts:
            raise KeyboardInterrupt from interrupts[0]
        if ends and (state.is_cancelling() or state.is_cancelled()):
            state = _over_before(engine, ends[0])
        return str(state.result())
    except Exception as error:
        if lost := _lost(error):
            engine.status = "KILLED"
            raise lost from error
        raise
    finally:
        if engine.announced is not None:
            final_states.at_end(os.environ["PREFECT_API_URL"], engine.announced, engine.run_id)
        for worker in (APILogWorker, EventsWorker):
            _drain(worker, DRAIN_LIMIT if engine.status != "KILLED" else 3.0)


def _over_before(engine: Engine, end: State[Any] | Exception) -> State[Any]:
    """The end of a run that came to it before it noticed that it was cancelled: Prefect, which lets such a run be
    nothing but Cancelling until it is Cancelled, is told how it was. Raises what stopped it."""
    state: dict[str, Any] = dict(_FLOW_STATES[engine.status])
    if isinstance(end, State):
        state |= {"name": end.name, "message": end.message}
    try:
        path = f"flow_runs/{engine.run_id}/set_state"
        prefect_api.ask(os.environ["PREFECT_API_URL"], path, {"state": state, "force": True})
    except FromzeroError:
        if engine.announced is not None and engine.announced.told:
            engine.announced.owe(owed={"state": state})
    if isinstance(end, Exception):
        raise end
    return end


def _drain(worker: type[APILogWorker] | type[EventsWorker], limit: float) -> None:
    """Let a client send what waits in its queue; what a server that is gone has not taken by then is dropped, or this
    process would try for minutes when it exits."""
    instances = [found for found in worker._instances.values() if isinstance(found, worker)]
    late = worker.drain_all(timeout=limit)[1]  # type: ignore[index]
    for instance in instances if late else []:
        with suppress(Empty):
            while True:
                instance._queue.get_nowait()
        instance._queue.put(None)


def carry(engine: Engine, name: str, wiring: Callable[[], Any]) -> State[Any]:
    """Carry the wiring out in the Prefect flow that is running; the state in which the flow is to end.

    Whatever ends it, no child process outlives it.
    """
    engine.run_id, engine.run_name, engine.recipe = str(flow_run.id), str(flow_run.name), name
    url, ended = os.environ["PREFECT_API_URL"], threading.Event()
    engine.announced = announced = Announced(
        engine.home, engine.run_id, name=engine.run_name, recipe=name, started=time.time(), server=url,
        database=final_states.database(engine.home, url),
    )  # fmt: skip
    atexit.register(final_states.at_end, url, announced, engine.run_id)
    before: list[str] = []
    watch = (engine, url, ended, WORKER_SIGNALS if deployment.id is not None else 0.0)
    threading.Thread(target=heed_cancellation, args=watch, daemon=True).start()
    insisting = insist(ended)
    try:
        with presenting("that earlier runs have died"):
            before += final_states.the_dead(engine.home, url)
        with interpreted_by(engine), TagsContext(current_tags=set()):  # a tag costs each task 30 ms
            wiring()
        engine.check_names()
        return _ended_well(engine)
    except Reached:
        return _ended_well(engine, "reached", f"until {engine.until}: ")
    except Exception:
        engine.workspace.cancel()
        if servers.answers(url):  # else its client would try for a minute
            engine.publisher.show_summary(engine.run, "failed", engine.outcomes)
        raise
    except BaseException:
        engine.status = "KILLED"
        engine.workspace.cancel()
        raise
    finally:
        ended.set()
        insisting()
        if engine.tracking is not None:
            engine.tracking.close(engine.status)
        else:
            Tracking.end_lost(engine.home)
        _confirm(engine, url, before)
        if deployment.id is not None and engine.status == "KILLED":  # a worker's signal leaves no time for more
            final_states.at_end(url, announced, engine.run_id)


def _confirm(engine: Engine, url: str, before: list[str]) -> None:
    """Make sure that Prefect has every task run in its final state; what cannot be told now is told by the next run."""
    assert engine.announced is not None
    tasks, own = engine.task_runs.ended(), final_states.database(engine.home, url) == "home"
    try:
        if told := final_states.confirm(url, engine.run_id, tasks, final_states.AWAY if own else 0.0):
            engine.report.line("", f"Prefect had lost the ends of {told} task runs: told again")
        final_states.again(url, before)
    except FromzeroError as error:
        engine.report.line("", f"not all of this run is in Prefect; the next run tells it: {error}")
        state = _FLOW_STATES[engine.status]
        engine.announced.owe(owed={"tasks": [asdict(task) for task in tasks], "state": state})


def _ended_well(engine: Engine, ended: str = "completed", how_far: str = "") -> State[Any]:
    """How a flow ends whose steps have all done their work."""
    engine.status = "FINISHED"
    engine.publisher.show_summary(engine.run, ended, engine.outcomes)
    for state in ("refused", "waiting"):
        if found := [outcome.message for outcome in engine.outcomes if outcome.state == state]:
            return Completed(name=state.capitalize(), message="\n".join(found), data=state)
    made = sum(outcome.state != "cached" for outcome in engine.outcomes)
    same = f"{len(engine.outcomes) - made} steps reused"
    if made:
        return Completed(message=f"{how_far}{made} made, {same}", data=ended)
    return Completed(name="Unchanged", message=f"{how_far}nothing new, {same}", data=ended)


def _lost(error: Exception) -> HostError | None:
    """What to say where a run failed because Prefect went away, or cannot write; its client has tried by then."""
    url = os.environ.get("PREFECT_API_URL", "")
    if isinstance(error, PrefectHTTPStatusError) and error.response.is_server_error:
        return HostError(
            f"the Prefect server at {bare(url)} answers {error.response.status_code}: mostly its disk is full "
            "(`fromzero gc` frees space) or its files may not grow (`ulimit -f`); then the same command: what is made "
            "stays made"
        )
    if not isinstance(from_exception(error), (StepError, Transient)) or servers.answers(url):
        return None
    return HostError(
        f"the Prefect server at {bare(url)} (PREFECT_API_URL) does not answer any more: start it again, "
        "then the same command: what is made stays made"
    )
