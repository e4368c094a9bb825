"""Services that are kept running, on real processes."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tasks.core.errors import HostError
from tasks.core.services import supervised
from tasks.core.services.supervised import Service, check_port, free_port
from tests.toy_process import ROOT, eventually

SLEEPER = [sys.executable, "-c", "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', \
'import time; time.sleep(600)']); time.sleep(600)"]  # fmt: skip
KEEPER = """
import sys, time
from pathlib import Path
from tasks.core.services.supervised import Service
service = Service("sleeper", sys.argv[2:], Path(sys.argv[1]))
service.look()
print(service.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that has a child of its own."""
    found = Service("sleeper", SLEEPER, tmp_path / "sleeper.log")
    yield found
    found.stop()


def group(leader: int | None) -> list[int]:
    """Every process of a group that lives."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) == leader:
                found.append(process.pid)
    return found


def started(service: Service) -> int:
    """Its guard, once guard, command and the command's child are there."""
    service.look()
    leader = service.pid
    assert leader is not None
    assert eventually(lambda: len(group(leader)) == 3)
    return leader


def test_a_service_that_was_killed_is_started_again_and_counted(service: Service) -> None:
    first = started(service)
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: (service.look(), service.pid not in (None, first))[1])
    assert service.restarts == 1
    assert eventually(lambda: group(first) == []), "nothing of the first one is left beside it"


def test_stopping_leaves_nothing_of_its_group(service: Service) -> None:
    leader = started(service)
    service.stop()
    assert eventually(lambda: group(leader) == [])
    assert service.pid is None


def test_a_killed_keeper_takes_its_services_along(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEEPER, str(tmp_path / "log"), *SLEEPER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        leader = int(keeper.stdout.readline())
        assert eventually(lambda: len(group(leader)) == 3)
        keeper.kill()
    assert eventually(lambda: group(leader) == [])


def test_one_that_keeps_dying_is_started_less_and_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service("dies", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")
    clock = [1000.0]
    monkeypatch.setattr(supervised.time, "monotonic", lambda: clock[0])
    starts = []
    for _ in range(200):
        service.look()
        if service._process is not None and service.started == clock[0]:
            starts.append(clock[0])
            service._process.wait()
        clock[0] += 0.5
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses == sorted(pauses) and pauses[-1] >= supervised.LONGEST_PAUSE / 2
    service.stop()


def test_a_port_in_use_is_refused_with_its_owner_and_the_option_that_chooses_another() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(HostError, match=rf"port {port} .*process id {os.getpid()}.*prefect_port={port + 100}"):
            check_port("127.0.0.1", port, "prefect_port")
    check_port("127.0.0.1", free_port(), "prefect_port")
