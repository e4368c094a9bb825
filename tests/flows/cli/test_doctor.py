"""What the doctor says of homes, clocks, ports, servers and packages."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from conf.schema.services import ServicesConf
from flows.cli import doctor
from flows.cli.doctor import examine
from tasks.core.checks import Check
from tasks.core.services import servers


def seen(home: Path, name: str) -> Check:
    """The one check of that name."""
    (found,) = [check for check in examine(home) if check.name == name]
    return found


def test_an_empty_place_fails_nothing_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    checks = {check.name: check for check in examine(tmp_path / "home")}
    assert {"python", "torch", "prefect", "mlflow", "transformers", "memory", "disk", "cores", "gpu", "bf16", "home",
            "prefect's database", "mlflow's database", "clock", "prefect server", "port 4200", "port 5000", "git",
            "chromium", "seaweedfs", "presidio"} <= checks.keys()  # fmt: skip
    assert [check for check in checks.values() if check.state == "fail"] == []
    assert checks["torch"].found == version("torch")
    assert list(tmp_path.iterdir()) == []


def test_every_check_that_is_not_well_has_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch==1.0", "no-such-package>=2", "click>=8"])
    monkeypatch.setattr(doctor, "DISK_GB", 1e9)
    monkeypatch.setattr(doctor, "MEMORY_GB", 1e9)
    checks = examine(tmp_path)
    assert {check.name for check in checks if check.state == "fail"} == {"torch", "no-such-package"}
    assert {"disk", "memory"} <= {check.name for check in checks if check.state == "warn"}
    assert all(check.fix for check in checks if check.state != "ok")


def test_a_home_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert seen(tmp_path / "home", "home").state == "fail"


@pytest.mark.parametrize(("migrated", "state"), [("0.0.1", "warn"), ("999.0", "fail"), (version("prefect"), "ok")])
def test_a_database_of_another_version_is_noticed(tmp_path: Path, migrated: str, state: str) -> None:
    servers.folder(tmp_path).mkdir(parents=True)
    (servers.folder(tmp_path) / f"migrated-{migrated}").touch()
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow/prepared.json").write_text(json.dumps({"mlflow": "0.0.1"}))
    assert seen(tmp_path, "prefect's database").state == state
    assert seen(tmp_path, "mlflow's database").state == "warn"


def test_a_file_from_the_future_means_that_the_clock_was_set_back(tmp_path: Path) -> None:
    (tmp_path / "store/_runs").mkdir(parents=True)
    record = tmp_path / "store/_runs/one.json"
    record.touch()
    assert seen(tmp_path, "clock").state == "ok"
    os.utime(record, (time.time() + 7200,) * 2)
    found = seen(tmp_path, "clock")
    assert found.state == "warn" and "one.json is 120 min newer" in found.found


def test_a_port_is_well_only_if_it_is_free_or_this_homes_keeper_holds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        servers.folder(tmp_path).mkdir()
        servers.want(tmp_path, ServicesConf(prefect_port=port, mlflow_port=port))
        found = next(check for check in examine(tmp_path) if check.name == f"port {port}")
        assert found.state == "warn" and str(os.getpid()) in found.found and "prefect_port=" in found.fix
        about = {"url": "http://127.0.0.1:9/api", "pid": os.getppid(), "version": version("prefect")}
        monkeypatch.setattr(servers, "running", lambda home: about)
        found = next(check for check in examine(tmp_path) if check.name == f"port {port}")
        assert found.state == "ok" and "of this home" in found.found
    assert next(check for check in examine(tmp_path) if check.name == f"port {port}").found.startswith("free")


def test_a_server_that_does_not_answer_or_is_of_another_version_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"url": "http://127.0.0.1:9/api", "pid": 1, "version": "0.1"}
    monkeypatch.setattr(servers, "running", lambda home: record)
    assert "does not answer" in seen(tmp_path, "prefect server").found
    monkeypatch.setattr(servers, "answers", lambda url: True)
    found = seen(tmp_path, "prefect server")
    assert found.state == "warn" and "version 0.1" in found.found


def test_looking_imports_none_of_what_is_looked_for(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from flows.cli.doctor import examine; examine(Path(sys.argv[1]));\
print([name for name in ('torch', 'prefect', 'mlflow', 'transformers') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
