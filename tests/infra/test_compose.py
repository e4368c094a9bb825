"""infra/compose.yaml: read by docker compose itself, and its services run as processes, as an engine would run them."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.infra.containers import COMPOSE, Machine, passwords, services

MLFLOW = "/api/2.0/mlflow/"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """All services but the GPU worker, as `docker compose up` starts them."""
    folder = tmp_path_factory.mktemp("compose")
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o011)  # services are of other users
    with Machine(folder) as found:
        found.up("postgres", "s3-folder", "s3", "bucket", "prefect", "mlflow-database", "mlflow", "schedules", "worker")
        yield found


def test_without_passwords_nothing_is_started_and_the_message_says_where_they_come_from() -> None:
    done = subprocess.run(
        [*COMPOSE, "config"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": "/"}
    )
    assert done.returncode != 0 and "sh infra/secrets.sh > infra/.env" in done.stderr


def test_every_service_is_locked_down_and_nothing_is_published_beyond_this_machine() -> None:
    found = services(passwords())
    assert {"postgres", "s3", "prefect", "mlflow", "worker", "gpu-worker"} <= set(found)
    for name, service in found.items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}, name
        tag = service["image"].rpartition(":")[2]
        assert tag and tag != "latest", name
    assert found["gpu-worker"]["profiles"] == ["gpu"] and "profiles" not in found["worker"]


def ask(machine: Machine, service: str, path: str, body: Any = None, auth: str = "", method: str | None = None) -> Any:
    """What a server answers, as JSON where it is some, or the HTTP status by which it refused."""
    port = {"prefect": 4200, "mlflow": 5000}[service]
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    about = {"Content-Type": "application/json", "Host": f"{service}:{port}"}
    about |= {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
    url = f"http://{machine.containers[service].address}:{port}{path}"

    def call() -> Any:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, about, method=method), timeout=60) as answer:
                said = answer.read()
                return said.decode() if said.startswith(b"<") else json.loads(said) if said else None
        except urllib.error.HTTPError as error:
            return error.code

    return machine.inside(call)


def s3(machine: Machine) -> Any:
    """A client of the S3 service, with the passwords of the installation."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=f"http://{machine.containers['s3'].address}:8333", region_name="us-east-1",
        aws_access_key_id=machine.passwords["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=machine.passwords["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def names(machine: Machine, prefix: str) -> list[str]:
    """The objects below a prefix of the bucket."""
    listed = machine.inside(lambda: s3(machine).list_objects_v2(Bucket="fromzero", Prefix=prefix))
    return [found["Key"] for found in listed.get("Contents", ())]


def test_servers_refuse_strangers_and_show_their_pages_to_others(machine: Machine) -> None:
    admin = f"admin:{machine.passwords['MLFLOW_TRACKING_PASSWORD']}"
    assert ask(machine, "prefect", "/api/flows/count", {}) == 401
    assert ask(machine, "prefect", "/api/flows/count", {}, machine.passwords["PREFECT_API_AUTH_STRING"]) >= 1
    assert "<html" in ask(machine, "prefect", "/"), "its pages are written where it may write"
    assert ask(machine, "mlflow", f"{MLFLOW}experiments/get?experiment_id=0") == 401
    assert ask(machine, "mlflow", f"{MLFLOW}experiments/get?experiment_id=0", auth=admin)["experiment"]
    assert "<html" in ask(machine, "mlflow", "/", auth=admin)


def test_in_mlflow_whoever_is_given_a_name_reads_and_writes_what_is_given_to_them(machine: Machine) -> None:
    admin, ada = f"admin:{machine.passwords['MLFLOW_TRACKING_PASSWORD']}", "ada:a-long-password"
    name, _, word = ada.partition(":")
    assert ask(machine, "mlflow", f"{MLFLOW}users/create", {"username": name, "password": word}, admin)["user"]
    assert ask(machine, "mlflow", f"{MLFLOW}registered-models/create", {"name": "demo-base"}, admin)
    change = {"name": "demo-base", "key": "checked", "value": "yes"}
    assert ask(machine, "mlflow", f"{MLFLOW}registered-models/get?name=demo-base", auth=ada)["registered_model"]
    assert ask(machine, "mlflow", f"{MLFLOW}registered-models/set-tag", change, ada) == 403
    given = {"username": name, "resource_type": "registered_model", "resource_id": "demo-base", "permission": "EDIT"}
    assert ask(machine, "mlflow", "/api/3.0/mlflow/users/permissions/grant", given, admin) not in (400, 403, 404)
    assert ask(machine, "mlflow", f"{MLFLOW}registered-models/set-tag", change, ada) == {}


def test_what_servers_know_is_in_postgres_which_asks_for_a_password_and_files_are_in_s3(machine: Machine) -> None:
    admin = f"admin:{machine.passwords['MLFLOW_TRACKING_PASSWORD']}"
    assert ask(machine, "mlflow", f"{MLFLOW}experiments/create", {"name": "kept"}, admin)["experiment_id"]
    files = "/api/2.0/mlflow-artifacts/artifacts/note.txt"
    assert ask(machine, "mlflow", files, b"a note", admin, "PUT") is None
    assert names(machine, "mlflow/") == ["mlflow/note.txt"]
    query = ["psql", "-h", "postgres", "-U", "fromzero", "-d", "fromzero_mlflow", "-Atc"]
    query += ["select count(*) from experiments where name = 'kept'"]
    postgres = machine.containers["postgres"]
    assert postgres.execute(*query, "-w").returncode != 0
    said = postgres.execute("env", f"PGPASSWORD={machine.passwords['POSTGRES_PASSWORD']}", *query)
    assert said.stdout.strip() == "1", said.stderr


def begin(machine: Machine, until: str, *distributions: str) -> dict[str, Any]:
    """A run of the deployment that `schedules` has made, on less data, as the form of Prefect's page begins one."""
    auth = machine.passwords["PREFECT_API_AUTH_STRING"]
    found = ask(machine, "prefect", "/api/deployments/name/demo/nightly", auth=auth)
    assert found["schedules"][0]["schedule"]["cron"] == "0 2 * * *"
    recipe = found["parameters"]["recipe"]
    recipe["data"]["sources"]["packages"]["distributions"] = distributions
    recipe["data"]["sources"]["chat"]["max_conversations"] = 40
    given = {"parameters": {**found["parameters"], "recipe": recipe, "until": until}}
    return dict(ask(machine, "prefect", f"/api/deployments/{found['id']}/create_flow_run", given, auth))


def state(machine: Machine, run: dict[str, Any], *passing: str) -> dict[str, Any]:
    """The state of a run once it is none of those that pass."""
    deadline = time.monotonic() + 600
    while True:
        auth = machine.passwords["PREFECT_API_AUTH_STRING"]
        found = ask(machine, "prefect", f"/api/flow_runs/{run['id']}", auth=auth)["state"]
        if found["type"] not in passing:
            return dict(found)
        assert time.monotonic() < deadline, machine.said("worker")
        time.sleep(0.5)


def test_a_deployed_run_is_carried_out_by_the_worker_and_its_artifacts_are_in_s3(machine: Machine) -> None:
    ended = state(machine, begin(machine, "fetch_shard", "click"), "SCHEDULED", "PENDING", "RUNNING")
    assert ended["type"] == "COMPLETED", (ended, machine.said("worker"))
    assert any(name.endswith("/manifest.json") for name in names(machine, "fromzero/fetch_shard/"))


def test_a_worker_that_is_asked_to_leave_does_so_within_its_grace_and_no_run_stays_running(machine: Machine) -> None:
    run = begin(machine, "train_tokenizer", "torch", "transformers", "pandas", "scipy")
    assert state(machine, run, "SCHEDULED", "PENDING")["type"] == "RUNNING"
    assert machine.containers["worker"].stop() >= 0, "not killed: it left within its grace"
    ended = state(machine, run)
    begun_or_not = ("CANCELLED", "CRASHED")  # the second where its own code has not begun yet
    assert ended["type"] in begun_or_not, (ended, machine.said("worker"))
