"""Training among strangers: what listens, who may join, and what is read of what they send."""

from __future__ import annotations

import io
import os
import pickle
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.core.errors import FromzeroError, HostError, StepError
from tasks.core.small_files import write_atomically
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.cluster import node_address
from tests.ports import free_ports
from tests.preloaded import Preloaded
from tests.tasks.pretrain.conftest import GPT2, job_of, write_shards
from tests.tasks.training.cluster.test_node import QUICK, node
from tests.trainer_process import Body, wait_for

LOOPBACK = {"127.0.0.1", "::1"}


class Evil:
    """Runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def make(tmp_path: Path, home: Path) -> Callable[..., PretrainJob]:
    """A training that goes on for longer than anybody looks."""
    shards = write_shards(tmp_path / "shards")

    def make(name: str, **run: Any) -> PretrainJob:
        return job_of(shards, tmp_path / name, GPT2, tokens=5000 * 128, run={"checkpoint_steps": 50, **run})

    return make


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Where a process and those below it listen."""
    found = set()
    for one in [process, *process.children(recursive=True)]:
        for connection in one.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                found.add((connection.laddr.ip, connection.laddr.port))
    return found


@pytest.fixture
def ended() -> Iterator[list[Any]]:
    """Processes that the test leaves behind."""
    processes: list[Any] = []
    yield processes
    for process in processes:
        tree = psutil.Process(process.pid).children(recursive=True)
        for one in [psutil.Process(process.pid), *tree]:
            one.kill()
        process.wait()


def test_training_on_one_machine_listens_on_the_loopback_address_only(
    make: Callable[..., PretrainJob], loaded: Preloaded, ended: list[Any]
) -> None:
    body = Body(make("alone", processes=2), loaded)
    ended.append(body.process)
    body.reach(3)
    found = listening(psutil.Process(body.process.pid))
    assert {address for address, _ in found} <= LOOPBACK, found


def test_training_by_several_machines_listens_on_the_address_that_was_named_and_lets_nobody_in_without_the_secret(
    make: Callable[..., PretrainJob], loaded: Preloaded, ended: list[Any], tmp_path: Path
) -> None:
    import torch.distributed as dist

    from tasks.training.cluster.node_identity import identity
    from tasks.training.cluster.shared_store import SharedStore

    (port,) = free_ports(1)
    job = make("nodes/a", nodes=2, rendezvous=f"127.0.0.1:{port}")
    other, body = node(loaded, job, "other"), Body(job, loaded, QUICK)
    ended += [other, body.process]
    body.reach(3)
    for process in (other, body.process):
        found = listening(psutil.Process(process.pid))
        assert {address for address, _ in found} <= LOOPBACK, found
    assert ("127.0.0.1", port) in listening(psutil.Process(body.process.pid))
    with pytest.raises(dist.DistError):
        dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=2)).num_keys()
    (tmp_path / "foreign.pem").write_bytes(identity(b"x" * 32))
    with pytest.raises(dist.DistNetworkError):
        SharedStore("127.0.0.1", port, tmp_path / "foreign.pem")
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    answer = b""
    plain = socket.create_connection(("127.0.0.1", port))
    with suppress(ssl.SSLError, ConnectionError), anybody.wrap_socket(plain) as wrapped:
        wrapped.sendall(b'{"op": "count", "keys": [], "values": [], "amount": 0}\n')
        answer = wrapped.recv(100)
    assert answer == b"", "it answers to whoever has no certificate"


def test_a_first_machine_that_is_a_stranger_is_told_nothing(tmp_path: Path) -> None:
    import torch.distributed as dist

    from tasks.training.cluster.node_identity import identity
    from tasks.training.cluster.shared_store import SharedStore, StoreServer

    (port,) = free_ports(1)
    for name, seed in (("ours", b"o" * 32), ("theirs", b"t" * 32)):
        (tmp_path / name).write_bytes(identity(seed))
    server = StoreServer("127.0.0.1", port, tmp_path / "theirs")
    with pytest.raises(dist.DistNetworkError, match="store at"):
        SharedStore("127.0.0.1", port, tmp_path / "ours")
    friend = SharedStore("127.0.0.1", port, tmp_path / "theirs")
    friend.set("a", b"\x00\xff")
    assert friend.get("a") == b"\x00\xff" and server is not None


def test_of_machines_that_share_a_bucket_who_has_put_a_certificate_there_is_let_in_and_nobody_else(
    tmp_path: Path,
) -> None:
    import torch.distributed as dist

    from tasks.training.cluster.node_identity import certificate, identity
    from tasks.training.cluster.shared_store import SharedStore, StoreServer

    (port,) = free_ports(1)
    for name in ("first", "second", "reader"):
        (tmp_path / name).write_bytes(identity(name.ljust(32).encode()))
        (tmp_path / f"{name}.crt").write_text(certificate((tmp_path / name).read_bytes()))
        assert "PRIVATE" not in (tmp_path / f"{name}.crt").read_text()
    there: list[str] = []
    server = StoreServer("127.0.0.1", port, tmp_path / "first", lambda: [there.pop()] if there else [])
    own = SharedStore("127.0.0.1", port, tmp_path / "first")
    own.set("a", "1")

    def join(who: str, first: str = "first") -> SharedStore:
        return SharedStore("127.0.0.1", port, tmp_path / who, tmp_path / f"{first}.crt")

    with pytest.raises(dist.DistNetworkError):
        join("second")
    there.append((tmp_path / "second.crt").read_text())
    second = join("second")
    assert second.get("a") == b"1"
    with pytest.raises(dist.DistNetworkError):
        join("reader")  # who has read all that the bucket holds
    with pytest.raises(dist.DistNetworkError, match="cannot be joined"):
        join("second", first="reader")  # of another first machine, which poses as this one
    there.append("no certificate")
    assert join("second").get("a") == own.get("a") == b"1" and server is not None


def test_a_rendezvous_that_no_process_of_this_home_has_called_is_not_gone_to(make: Callable[..., PretrainJob]) -> None:
    job = make("nodes/a", nodes=2, rendezvous=f"127.0.0.1:{free_ports(1)[0]}")
    folder = job.work.root.parent
    forged = b'{"endpoint": "203.0.113.9:29400", "id": "1", "job": "/tmp/job.json"}'
    write_atomically(job.rendezvous_file, forged)
    assert node_address.newest(folder) is None
    ours = node_address.Rendezvous("1", "127.0.0.1:29400", "j").sealed
    write_atomically(job.rendezvous_file, ours)
    assert node_address.newest(folder) is not None
    write_atomically(job.rendezvous_file, ours.replace(b"127.0.0.1", b"127.0.0.9"))
    assert node_address.newest(folder) is None
    for nonsense in (b"[]", b"{}", b"\xff", b'{"id": 1, "seal": "x"}', ours.replace(b'"seal":"', '"seal":"ä'.encode())):
        write_atomically(job.rendezvous_file, nonsense)
        assert node_address.newest(folder) is None


def test_the_state_of_a_rendezvous_that_holds_code_is_not_unpickled(tmp_path: Path) -> None:
    """As torch reads it, from whatever stands in the store."""
    import base64

    import torch.distributed as dist

    from tasks.training.cluster.rendezvous import Backend

    store, mark = dist.HashStore(), tmp_path / "ran"
    backend = Backend(store, "run")
    store.set("torch.rendezvous.run", base64.b64encode(pickle.dumps(Evil(mark))))
    with pytest.raises(FromzeroError, match=r"posix\.mkdir"):
        backend.get_state()
    assert not mark.exists()


GROUP = """
import pickle, sys
from pathlib import Path
from tasks.training.network.device import set_up
from tasks.pretrain.pretrain_job import PretrainJob
set_up(PretrainJob.read(Path(sys.argv[1])).conf.run)
from torch.distributed import all_gather_object, distributed_c10d
import torch
evil = Path(sys.argv[2]).read_bytes()
data = torch.tensor(list(evil), dtype=torch.uint8)
try:
    distributed_c10d._tensor_to_object(data, len(evil), None)
except Exception as error:
    print(type(error).__name__, error)
found = [None]
all_gather_object(found, {"a": (1, "b")})
print(found)
"""


def test_an_object_from_another_process_that_holds_code_is_not_unpickled(
    make: Callable[..., PretrainJob], tmp_path: Path
) -> None:
    (tmp_path / "evil").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    command = [sys.executable, "-c", GROUP, str(make("alone").write()), str(tmp_path / "evil")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "StepError another process of this training sent posix.mkdir" in done.stdout, done.stdout + done.stderr
    assert "[{'a': (1, 'b')}]" in done.stdout
    assert not (tmp_path / "ran").exists()


def test_no_name_that_is_let_through_calls_another() -> None:
    """What unpickling may call are classes, and the one function of torch that turns a name into a layout."""
    from importlib import import_module

    from tasks.training.cluster.unpickling import OBJECTS, STATE, Reader

    functions = set()
    for module, name in OBJECTS | STATE:
        found = getattr(import_module(module), name)
        if not isinstance(found, type) and callable(found):
            functions.add(name)
    assert functions == {"_get_layout"}
    with pytest.raises(StepError):
        Reader(io.BytesIO(b"cbuiltins\neval\n.")).load()


def test_a_secret_that_others_can_read_is_refused(home: Path) -> None:
    from tasks.core.services import secret

    first = secret.key(home, "a")
    assert secret.key(home, "a") == first != secret.key(home, "b")
    assert (home / "secret").stat().st_mode & 0o777 == 0o600
    (home / "secret").chmod(0o640)
    with pytest.raises(HostError, match="by others than its owner"):
        secret.key(home, "a")
    (home / "secret").unlink()
    assert secret.key(home, "a") != first
    wait_for(lambda: not list(home.glob(".secret*")), "a part was left")
