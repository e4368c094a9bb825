"""A real Prefect server shared by real processes: who starts it, who stops it, what happens when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tasks.core.services.servers import Membership, answers, clear, folder, running
from tests.toy_process import ROOT, eventually

JOIN = "import sys, time; from pathlib import Path; from tasks.core.services.servers import Membership;\
m = Membership(Path(sys.argv[1])); print(m.url(), flush=True); time.sleep(600)"


def test_one_server_serves_all_survives_its_own_death_and_stops_after_the_last(home: Path) -> None:
    first = Membership(home)
    url = first.url()
    other = subprocess.Popen(
        [sys.executable, "-c", JOIN, str(home)], cwd=ROOT, env={**os.environ}, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline().strip() == url, "the second run joins the first one's server"

    keeper = psutil.Process(json.loads((folder(home) / "server.json").read_text())["pid"])
    (server,) = keeper.children()
    server.send_signal(signal.SIGKILL)
    assert eventually(lambda: not answers(url))
    assert eventually(lambda: answers(url)), "it is started again on the same port"

    first.leave()
    assert not eventually(lambda: not keeper.is_running(), 3), "somebody uses it still"
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert eventually(lambda: not keeper.is_running() or keeper.status() == psutil.STATUS_ZOMBIE)
    assert eventually(lambda: not answers(url))
    assert not (folder(home) / "server.json").exists()


def test_a_stale_record_of_a_killed_keeper_is_not_believed(home: Path) -> None:
    folder(home).mkdir(parents=True)
    (folder(home) / "keeper.lock").touch()
    (folder(home) / "server.json").write_text('{"url": "http://127.0.0.1:9/api", "pid": 1, "version": "0"}')
    member = Membership(home)
    assert answers(member.url())
    member.leave()


def test_a_server_that_outlived_keeper_and_guard_is_ended_before_the_next_one_starts_and_a_kept_one_never(
    home: Path,
) -> None:
    user = subprocess.Popen([sys.executable, "-c", JOIN, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    url = user.stdout.readline().strip()
    clear(home)
    assert answers(url), "its keeper lives"

    found = running(home)
    assert found is not None
    user.kill()
    user.wait()
    os.kill(found["pid"], signal.SIGSTOP)  # else it starts again what it sees die
    os.kill(found["services"]["prefect"]["pid"], signal.SIGKILL)
    os.kill(found["pid"], signal.SIGKILL)
    assert eventually(lambda: running(home) is None)
    assert answers(url), "nobody keeps it"
    member = Membership(home)
    assert answers(member.url()) and not answers(url)
    member.leave()
