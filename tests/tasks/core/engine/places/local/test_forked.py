"""Bodies that are forked: as apart from each other, and as sure to go, as spawned ones."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.core import interpreter
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import Listener
from tasks.core.engine.places.local import Local, forked
from tasks.core.errors import ChildKilled
from tasks.core.store.lease import stopping
from tests.tasks.core.engine import bodies
from tests.tasks.core.engine.test_launcher import UNLIMITED, Held, Sent, Spawned
from tests.toy_process import eventually

SERVER = "tasks.core.engine.places.local.fork_server"


@pytest.fixture
def sent(tmp_path: Path) -> Iterator[Sent]:
    yield Sent(Local(), tmp_path)
    stopping.clear()


def servers() -> list[int]:
    """The servers of this process."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if SERVER in child.cmdline():
                found.append(child.pid)
    return found


def gone(pid: int) -> bool:
    def is_gone() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return eventually(is_gone, limit=30)


def server_of(sent: Sent) -> int:
    """The server of a body that stays."""
    body = psutil.Process(int((sent.work.scratch / "below").read_text())).parent()
    assert body is not None
    return body.ppid()


def job_of(entry: str, folder: Path) -> JobFile:
    """A job of a step that is not imported here."""
    (folder / "content").mkdir(parents=True, exist_ok=True)
    job = JobFile(entry, [], None, str(folder), None, {"A_WORD": "hello"})
    job.write()
    return job


def run(job: JobFile) -> dict[str, Any]:
    lease = Held(os.open(os.devnull, os.O_RDONLY))
    return Local().run(job, lease, Listener(Path(job.root) / "log", lambda text: None, lambda event: None))


def test_a_forked_body_finds_around_it_what_a_spawned_one_finds(tmp_path: Path) -> None:
    forked_one = Sent(Local(), tmp_path / "forked").run(bodies.surroundings)
    assert forked_one == Sent(Spawned(), tmp_path / "spawned").run(bodies.surroundings) | {"title": forked_one["title"]}
    assert forked_one["title"][1:4] == ["-P", "-m", "tasks.core.engine.child_process"]
    assert forked_one["title"][4] == str(tmp_path / "forked/store/_work/step/key/job.json")


def test_no_body_sees_anything_of_the_one_before(sent: Sent) -> None:
    one, other = sent.run(bodies.alone), sent.run(bodies.alone)
    assert one["parent"] == other["parent"] != os.getpid(), "both are forked from one server"
    assert one["pid"] == one["group"] != other["pid"] == other["group"]
    assert (one["seen"], one["traces"]) == (other["seen"], other["traces"]) == (1, "x")
    assert not set(one["drawn"]) & set(other["drawn"])


@pytest.mark.parametrize("code", [0, 3])
def test_a_body_is_over_when_its_threads_and_what_it_registered_are(sent: Sent, code: int) -> None:
    if code:
        with pytest.raises(ChildKilled, match="exit code 3"):
            sent.run(bodies.leave_late, code)
    else:
        assert sent.run(bodies.leave_late, code) == {}
    assert (sent.work.scratch / "thread").exists() and (sent.work.scratch / "exit").exists()
    assert "".join(map(str, sent.said)).count("no end") == 1 and "unwritten" in "".join(map(str, sent.said))


def test_a_lease_is_held_until_the_body_is_gone_too_and_then_goes(sent: Sent, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tasks.core.store.lease import lock_file
from tests.tasks.core.engine.test_launcher import UNLIMITED, Local, Sent
Sent(Local(), Path({str(tmp_path)!r}), lease=lock_file(Path({str(tmp_path / "lock")!r}))).run(UNLIMITED, True)
"""
    process = subprocess.Popen(interpreter.command("-c", code), env=interpreter.environment(), start_new_session=True)
    assert eventually((sent.work.scratch / "there").exists)
    body = psutil.Process(int((sent.work.scratch / "below").read_text())).ppid()
    server = server_of(sent)
    for pid in (server, body):
        os.kill(pid, signal.SIGSTOP)
        assert eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, limit=30)  # noqa: B023
    process.kill()
    process.wait()
    with (tmp_path / "lock").open() as lock:
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            for pid in (body, server):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        def free() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        assert eventually(free, limit=30)
    assert gone(body) and gone(server) and sent.leaves_nothing()


def test_a_body_whose_server_is_killed_is_killed_and_the_next_has_a_new_server(sent: Sent) -> None:
    end = sent.begin(UNLIMITED, True)
    server = server_of(sent)
    os.kill(server, signal.SIGKILL)
    error = end()
    assert isinstance(error, ChildKilled) and r"without a status (SIGKILL)" in str(error)
    assert sent.leaves_nothing() and gone(server)
    assert sent.run(bodies.alone)["parent"] not in (server, os.getpid())


def test_a_server_that_was_killed_while_it_had_nothing_to_do_is_replaced(sent: Sent) -> None:
    server = sent.run(bodies.alone)["parent"]
    os.kill(server, signal.SIGKILL)
    assert sent.run(bodies.alone)["parent"] not in (server, os.getpid())


def test_servers_and_bodies_go_with_a_run_that_is_killed(sent: Sent, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tests.tasks.core.engine.test_launcher import UNLIMITED, Local, Sent
Sent(Local(), Path({str(tmp_path)!r})).run(UNLIMITED, True)
"""
    process = subprocess.Popen(interpreter.command("-c", code), env=interpreter.environment(), start_new_session=True)
    assert eventually((sent.work.scratch / "there").exists)
    server = server_of(sent)
    process.kill()
    process.wait()
    assert gone(server) and sent.leaves_nothing()


STEP = """
import os
import threading
from tasks.core.step import step

{more}

@step()
def say(conf, work):
    return {{"word": "{word}", "parent": os.getppid()}}
"""


def test_code_that_was_edited_is_loaded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "edited_step.py").write_text(STEP.format(word="one", more=""))
    job = job_of("edited_step:say", tmp_path / "work")
    first, again = run(job), run(job)
    (tmp_path / "edited_step.py").write_text(STEP.format(word="two", more=""))
    last = run(job)
    assert [first["word"], again["word"], last["word"]] == ["one", "one", "two"]
    assert first["parent"] == again["parent"] != last["parent"] != os.getpid()


def test_what_starts_threads_when_it_is_imported_is_spawned_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    thread = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    (tmp_path / "threaded_step.py").write_text(STEP.format(word="threads", more=thread))
    (tmp_path / "plain_step.py").write_text(STEP.format(word="none", more=""))
    threaded, plain = job_of("threaded_step:say", tmp_path / "one"), job_of("plain_step:say", tmp_path / "other")
    for _ in range(2):
        assert run(threaded) == {"word": "threads", "parent": os.getpid()}
        assert run(plain)["parent"] != os.getpid()


def test_a_library_that_starts_threads_is_left_to_the_body_which_is_spawned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    thread = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (tmp_path / "threaded_library.py").write_text(thread)
    (tmp_path / "user_step.py").write_text(STEP.format(word="used", more=""))
    monkeypatch.setitem(forked.LOADED, "threaded", ("threaded_library",))
    job = replace(job_of("user_step:say", tmp_path / "work"), libraries=["threaded"])
    for _ in range(2):
        assert run(job) == {"word": "used", "parent": os.getpid()}


def test_many_bodies_at_once_are_each_carried_out_once_and_leave_nothing(tmp_path: Path) -> None:
    def one(number: int) -> dict[str, Any]:
        return Sent(Local(), tmp_path / str(number)).run(bodies.alone)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(50)))
    assert {body["seen"] for body in found} == {1} and len({body["drawn"][1] for body in found}) == 50
    (server,) = {body["parent"] for body in found}
    assert server in servers()
    assert eventually(lambda: not psutil.Process(server).children(), limit=30)


def test_there_are_never_many_servers(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(forked.MOST + 2):
        monkeypatch.setenv("ANOTHER", str(number))
        sent.run(bodies.speak, [])
    assert eventually(lambda: len(servers()) <= forked.MOST, limit=30)


def test_a_fork_server_leaves_when_it_has_nothing_to_do() -> None:
    code = f"""
import json, os, socket, sys
from {SERVER.rpartition(".")[0]} import fork_server
fork_server.IDLE = 0.1
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
fork_server.Server(theirs, 0, []).serve()
print(json.dumps("left"))
"""
    ran = subprocess.run(
        interpreter.command("-c", code), env=interpreter.environment(), capture_output=True, timeout=60
    )
    assert json.loads(ran.stdout) == "left", ran.stderr
