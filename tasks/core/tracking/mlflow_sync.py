"""Bring MLflow up to date with one run's folder: at least once, and nothing twice."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.liveness import boot
from tasks.core.small_files import read_json, write_atomically
from tasks.core.tracking.mlflow_db import EXPERIMENT, artifacts_of, prepare
from tasks.core.workdir import METRICS_FILE, SYSTEM_FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient

Point = tuple[str, float, float, int]
"""Metric, value, Unix time in seconds, step."""

BATCH = 1000
"""Metrics in one request, at most: MLflow's own limit."""

WANTED, REACHED = "run.json", "mlflow.json"
"""Files of a run's folder: what MLflow should show, and how far it got."""
ROWS = (METRICS_FILE, SYSTEM_FILE)
"""Files of a run's folder that hold rows of metrics."""
KIND = "mlflow.experimentKind"
"""Tag by which MLflow knows what pages an experiment needs: those for training models, here."""
PROGRESS = "progress.txt"
"""The file in it that says how far the run is: a tag of the run."""
PICTURES = "plots"
"""The folder in it whose files become artifacts of the run."""


def connect(home: Path) -> tuple[MlflowClient, str]:
    """A client and the id of our experiment, both made if need be. Takes seconds the first time: imports MLflow."""
    uri = prepare(home)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # what a program reads is there
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    return client, experiment_of(client, home)


def experiment_of(client: MlflowClient, home: Path) -> str:
    """The id of our experiment, made or brought back if need be."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None and found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    place = artifacts_of(home, str(client.tracking_uri))
    experiment = str(found.experiment_id if found is not None else client.create_experiment(EXPERIMENT, place))
    if found is None or KIND not in found.tags:
        client.set_experiment_tag(experiment, KIND, "custom_model_development")
    return experiment


def deliver(client: MlflowClient, experiment: str, folder: Path, locks: Path) -> bool:
    """Send what MLflow lacks of the run in `folder`; True once all is sent and the run ended. May be repeated.

    `locks` is the folder whose lock keeps processes from creating the same run twice. A run that somebody has deleted
    in MLflow is told anew from its beginning.
    """
    from mlflow.exceptions import MlflowException

    try:
        return _deliver(client, experiment, folder, locks)
    except MlflowException:
        known = read_json(folder / REACHED).get("run")
        if known is None or living(client, known):
            raise
        (folder / REACHED).unlink()
        return False


def living(client: MlflowClient, run: str) -> bool:
    """A run is there, and nobody has deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _deliver(client: MlflowClient, experiment: str, folder: Path, locks: Path) -> bool:
    wanted, reached = read_json(folder / WANTED), read_json(folder / REACHED)
    if not wanted:
        return True
    if reached.get("session") != wanted["session"]:
        parent = wanted["parent"] and _find_or_create(client, experiment, locks, wanted["parent"])
        if "run" not in reached:
            reached |= {"run": _find_or_create(client, experiment, locks, wanted), "experiment": experiment}
            _remember(folder, reached)
        _describe(client, reached["run"], wanted, parent)
        reached["session"] = wanted["session"]
        _remember(folder, reached)
    for rows in ROWS:
        _send_metrics(client, folder / rows, reached)
    _send_progress(client, folder, reached)
    if wanted["status"] is None:
        return False
    curves = {key for rows in ROWS for key in reached.get(rows, {}).get("last", {})}  # their ends are there already
    ends = [(key, value, wanted["ended"], 0) for key, value in wanted["metrics"].items() if key not in curves]
    _log_batch(client, reached["run"], ends)
    client.set_terminated(reached["run"], wanted["status"], int(wanted["ended"] * 1000))
    for picture in sorted((folder / PICTURES).glob("*.*")):
        client.log_artifact(reached["run"], str(picture), PICTURES)
    return True


def _remember(folder: Path, reached: Mapping[str, Any]) -> None:
    write_atomically(folder / REACHED, json.dumps(reached).encode())


def _find_or_create(client: MlflowClient, experiment: str, locks: Path, wanted: Mapping[str, Any]) -> str:
    with (locks / "create.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = client.search_runs([experiment], f"tags.`fromzero.id` = '{wanted['id']}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        started, tags = int(wanted["started"] * 1000), {"fromzero.id": wanted["id"]}
        return str(client.create_run(experiment, started, tags, wanted["name"]).info.run_id)


def _describe(client: MlflowClient, run: str, wanted: Mapping[str, Any], parent: str | None) -> None:
    """What is known of a run before it ends; one that goes on belongs to the parent that goes on with it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    known = client.get_run(run).data.params
    tags = [RunTag(key, str(value)) for key, value in wanted["tags"].items()]
    tags += [RunTag("mlflow.parentRunId", parent)] if parent else []
    client.log_batch(run, tags=tags)
    client.update_run(run, status="RUNNING")  # by now its owner is one that lives: nobody takes it for a dead one's
    params = [Param(key, str(value)) for key, value in wanted["params"].items() if key not in known]
    for start in range(0, len(params), 100):
        client.log_batch(run, params=params[start : start + 100])
    role = [InputTag("mlflow.data.context", "input")]
    data = [
        Dataset(
            name, about["digest"][:36], "local", json.dumps({"uri": about["uri"]}), None, json.dumps(about["profile"])
        )
        for name, about in wanted["datasets"].items()
    ]
    if data:
        client.log_inputs(run, [DatasetInput(dataset, role) for dataset in data])


def _send_metrics(client: MlflowClient, path: Path, reached: dict[str, Any]) -> None:
    """Send whole rows from the offset reached. A resumed trainer's repetition (step not past the last) is left out."""
    if not path.exists():
        return
    before = reached.get(path.name, {})
    last: dict[str, int] = dict(before.get("last", {}))
    batch: list[Point] = []
    row_sent = before.get("row", "")
    with path.open("rb") as file:
        offset = _seek(file, before)
        for line in file:
            if not line.endswith(b"\n"):
                break
            row = json.loads(line)
            points = [p for p in _points(row) if p[3] > last.get(p[0], -1)]
            if len(batch) + len(points) > BATCH:
                _log_batch(client, reached["run"], batch)
                reached[path.name] = {"offset": offset, "last": dict(last), "row": row_sent}
                _remember(path.parent, reached)
                batch = []
            last |= {key: step for key, _, _, step in points}
            batch += points
            offset += len(line)
            row_sent = line.decode()
    if offset != before.get("offset", 0):
        _log_batch(client, reached["run"], batch)
        reached[path.name] = {"offset": offset, "last": last, "row": row_sent}
        _remember(path.parent, reached)


def _send_progress(client: MlflowClient, folder: Path, reached: dict[str, Any]) -> None:
    said = (folder / PROGRESS).read_text() if (folder / PROGRESS).exists() else None
    if said is not None and said != reached.get("progress"):
        client.set_tag(reached["run"], "fromzero.progress", said)
        reached["progress"] = said
        _remember(folder, reached)


def _seek(file: Any, before: Mapping[str, Any]) -> int:
    """Go to the offset reached if the row before it is the one sent last, else to the start: the file was rewritten."""
    offset, row = int(before.get("offset", 0)), str(before.get("row", "")).encode()
    file.seek(max(0, offset - len(row)))
    if not row or file.read(len(row)) != row:
        offset = 0
        file.seek(0)
    return offset


def _points(row: Mapping[str, Any]) -> Iterator[Point]:
    for key, value in row.items():
        if key not in ("step", "time") and isinstance(value, (int, float)):
            yield key, float(value), row["time"], row["step"]


def _log_batch(client: MlflowClient, run: str, points: list[Point]) -> None:
    from mlflow.entities import Metric

    metrics = [Metric(key, value, int(when * 1000), step) for key, value, when, step in points]
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run, metrics=metrics[start : start + BATCH])


def owner(pid: int | None = None) -> str:
    """host:pid:start of a process, start by boot and tick; none if it is gone (or where there is no /proc)."""
    pid = os.getpid() if pid is None else pid
    try:
        started = f"{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}@{boot()[:8]}"
    except OSError:
        started = ""
    return f"{socket.gethostname()}:{pid}:{started}"


def gone(tag: str) -> bool:
    """Whether an `owner` was a process on this host that is no more."""
    host, _, pid = tag.rpartition(":")[0].rpartition(":")
    return host == socket.gethostname() and pid.isdigit() and owner(int(pid)) != tag


def end_stale_runs(client: MlflowClient, experiment: str, parents: Collection[str] = ()) -> int:
    """End as KILLED the running runs whose owner on this host is gone, and those of dead `parents`; how many."""
    running = client.search_runs([experiment], "attributes.status = 'RUNNING'", max_results=1000)
    tags = {run.info.run_id: run.data.tags for run in running}
    stale = [
        run
        for run, found in tags.items()
        if gone(found.get("fromzero.owner", "")) or found.get("mlflow.parentRunId") in parents
    ]
    for run in stale:
        client.set_terminated(run, "KILLED")
    return len(stale)
