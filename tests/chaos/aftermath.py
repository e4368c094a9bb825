"""What a fault must not leave behind, looked for behind the product's back: in /proc, locks, the store and Postgres."""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2

from tasks.core import liveness
from tasks.core.services.final_states import ENDED
from tests.chaos.rig import TOY_STEPS, Place, Rig, digests, steps

PATIENCE = 75.0
"""Seconds in which what a fault has stirred up settles: a service is started again, a dead worker's run is told."""
POINTS = list(range(1, 61))
"""Optimizer steps of the recipe's pretraining, each of which is logged."""
FINAL = ", ".join(f"'{state}'" for state in ENDED)


def wrong(rig: Rig, flow: str, place: Place, said: dict[str, Any], patience: float = PATIENCE) -> list[str]:
    """What is not as after an undisturbed run that has `said` this; what may settle is given time to."""
    if difference := _differs(rig.digests[flow, place.store], digests(flow, said)):
        return [f"other digests: {difference}"]
    looks: list[Callable[[], Iterator[str]]] = [
        partial(_services, rig),
        partial(_processes, rig),
        partial(_locks, rig),
        partial(_leases, rig),
        partial(_runs, rig),
        partial(_task_runs, rig, flow, said),
        partial(_store, rig, flow, place),
    ]
    if flow == "tiny":
        looks.append(partial(_metrics, rig, place))
    end = time.monotonic() + patience
    while True:
        found: list[str] = []
        for look in looks:
            try:
                found += look()
            except (psycopg2.Error, OSError) as error:
                found.append(f"{type(error).__name__}: {error}")
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.5)


def _differs(wanted: list[tuple[str, str | None]], found: list[tuple[str, str | None]]) -> str:
    differing = sorted({label for label, _ in (Counter(wanted) - Counter(found)) + (Counter(found) - Counter(wanted))})
    return ", ".join(differing)


def _services(rig: Rig) -> Iterator[str]:
    """Whatever was killed is there again."""
    if not rig.healthy():
        yield "the services of the home are not all up"


def _processes(rig: Rig) -> Iterator[str]:
    """No run, no body, no carrier, no fork server outlives its run."""
    for pid, words in rig.others().items():
        yield f"process {pid} is left: {words}"


def _locks(rig: Rig) -> Iterator[str]:
    """No file lock and no device slot is held, and every run has said its end."""
    homes = [rig.home, *(worker.home for worker in rig.workers)]
    folders = [folder / name for folder in homes for name in ("locks", "store/_locks")]
    for folder in [*folders, rig.folder / "ranks/_locks", rig.folder / "devices"]:
        for path in folder.rglob("*"):
            if path.is_file() and held(path):
                yield f"{path.relative_to(rig.folder)} is locked"
    for about in [*liveness.living(rig.home), *liveness.dead(rig.home)]:
        yield f"the run {about['run']} of process {about['pid']} is announced"


def held(path: Path) -> bool:
    """Whether some process holds a lock on a file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _leases(rig: Rig) -> Iterator[str]:
    """No lease in the bucket is kept by anybody: those of processes that were killed run out by themselves."""
    backend = rig.stores["bucket"].backend
    for name in backend.names("_locks/"):
        with suppress(FileNotFoundError):
            about = json.loads(backend.read(name)[0])
            holder = str(about.get("holder", "")).rpartition("process ")[2].rstrip(")")
            if not about.get("released", True) and Path(f"/proc/{holder}").exists():
                yield f"{name} is held by {about['holder']}"


def _runs(rig: Rig) -> Iterator[str]:
    """Neither Prefect nor MLflow shows anything as running."""
    prefect, mlflow = rig.databases["prefect"], rig.databases["mlflow"]
    query = f"SELECT name, state_name FROM flow_run WHERE NOT auto_scheduled AND state_type NOT IN ({FINAL})"
    yield from (f"flow run {name} is {state}" for name, state in rig.postgres.execute(query, prefect))
    query = f"SELECT name, state_name FROM task_run WHERE state_type IS NULL OR state_type NOT IN ({FINAL})"
    yield from (f"task run {name} is {state}" for name, state in rig.postgres.execute(query, prefect))
    query = "SELECT name, run_uuid FROM runs WHERE status = 'RUNNING'"
    yield from (f"MLflow's run {name} ({run}) is running" for name, run in rig.postgres.execute(query, mlflow))


def _task_runs(rig: Rig, flow: str, said: dict[str, Any]) -> Iterator[str]:
    """Each step of the run that went through has one task run in Prefect."""
    query = f"SELECT name FROM task_run WHERE flow_run_id = '{said['run']}'"
    found = Counter(name for (name,) in rig.postgres.execute(query, rig.databases["prefect"]))
    wanted = Counter(one["label"] for one in steps(flow, said) if one["state"] != "skipped")
    yield from (f"{count} task runs of {name} are lost" for name, count in (wanted - found).items())
    yield from (f"{count} task runs of {name} are too many" for name, count in (found - wanted).items())


def _store(rig: Rig, flow: str, place: Place) -> Iterator[str]:
    """Of what was made here every byte is as its manifest says, and there is nothing that no manifest names."""
    store, backend = rig.stores[place.store], rig.stores[place.store].backend
    if flow == "tiny":
        yield from (f"{name} is left" for name in _few(backend.names("_work/")))
    for step in TOY_STEPS if flow == "toy" else ("pretrain",):
        names = set(backend.names(f"{step}/"))
        for manifest in store.manifests(step):
            folder = f"{step}/{manifest.key}/"
            yield from (f"{folder}: {what}" for what in store.verify(manifest))
            names -= {f"{folder}manifest.json", *(f"{folder}{manifest.attempt}/{file.path}" for file in manifest.files)}
        yield from (f"{name} belongs to nothing" for name in _few(names))
        yield from (f"{name} is left" for name in _few(backend.names(f"_work/{step}/")))


def _few(names: Any) -> list[str]:
    return sorted(names)[:3]


def _metrics(rig: Rig, place: Place) -> Iterator[str]:
    """MLflow has each logged point of the pretraining, once."""
    (manifest,) = rig.stores[place.store].manifests("pretrain")
    run, base = manifest.made_by.get("mlflow_run"), rig.databases["mlflow"]
    if run is None:  # MLflow was away when it ended: its run came later
        query = f"SELECT run_uuid FROM tags WHERE key = 'fromzero.key' AND value = '{manifest.key}'"
        told = f"SELECT run_uuid FROM runs WHERE run_uuid IN ({query}) ORDER BY start_time DESC LIMIT 1"
        run = next((found for (found,) in rig.postgres.execute(told, base)), None)
    query = f"SELECT step FROM metrics WHERE run_uuid = '{run}' AND key = 'loss' ORDER BY step"
    points = [step for (step,) in rig.postgres.execute(query, base)]
    if points != POINTS:
        lost, more = Counter(POINTS) - Counter(points), Counter(points) - Counter(POINTS)
        yield f"MLflow's run {run} lacks the points {sorted(lost)} and has {sorted(more)} too often"
    query = f"SELECT status FROM runs WHERE run_uuid = '{run}' AND status <> 'FINISHED'"
    yield from (f"MLflow's run {run} is {status}" for (status,) in rig.postgres.execute(query, base))
