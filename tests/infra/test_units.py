"""infra/systemd: read by systemd itself, with the repository where the units expect it."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from flows.cli.main import main
from flows.deploy.up_down import PATIENCE, START_LIMIT
from tests.test_layout import ROOT

UNITS = sorted((ROOT / "infra" / "systemd").glob("*.service"))


def values(unit: Path) -> dict[str, str]:
    """The settings of a unit by name."""
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_reads_it_without_a_complaint(unit: Path, tmp_path: Path) -> None:
    there = tmp_path / "opt/fromzero/.venv/bin/fromzero"
    there.parent.mkdir(parents=True)
    there.write_text("#!/bin/sh\n")
    there.chmod(0o755)
    verify = f"mount --bind {tmp_path}/opt /opt && exec systemd-analyze verify --man=no '{unit}'"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", verify], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_it_calls_commands_that_there_are_as_a_user_without_rights(unit: Path) -> None:
    found = values(unit)
    for name in ("ExecStart", "ExecStop"):
        if name in found:
            program, verb, *rest = shlex.split(found[name])
            assert program == "/opt/fromzero/.venv/bin/fromzero"
            flags = {flag for option in main.commands[verb].params for flag in option.opts}
            assert {word for word in rest if word.startswith("--")} <= flags
    assert found["User"] == "fromzero" and found["CapabilityBoundingSet"] == "" and found["NoNewPrivileges"] == "yes"


def test_runs_have_as_long_as_up_and_down_and_training_take() -> None:
    service, worker = (
        values(ROOT / "infra" / "systemd" / name) for name in ("fromzero.service", "fromzero-worker@.service")
    )
    assert int(service["TimeoutStartSec"]) > START_LIMIT and int(service["TimeoutStopSec"]) >= 2 * PATIENCE
    assert int(worker["TimeoutStopSec"]) >= 120 and worker["KillMode"] == service["KillMode"] == "mixed"
