"""Two nodes on one machine, each with an agent of its own, one of which is killed; and where they meet."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tasks.core.errors import HostError
from tasks.core.small_files import write_atomically
from tasks.pretrain import steps
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.cluster import node_address
from tasks.training.cluster.torchrun import environment
from tests.ports import free_ports
from tests.preloaded import Child, Preloaded
from tests.tasks.pretrain.conftest import GPT2
from tests.trainer_process import Body, curve, gone, outcome, wait_for

MakeJob = Callable[..., PretrainJob]
QUICK = """
import time
from tasks.training.cluster import bucket_calls, node_address
from torch.distributed.elastic.rendezvous import dynamic_rendezvous
node_address.HEARTBEAT = 1, 2
node_address.FolderCalls.every = bucket_calls.BucketCalls.every = 0.1
dynamic_rendezvous._delay = lambda seconds: time.sleep(0.05)
dynamic_rendezvous.get_method_name = lambda *depth: ""
"""
"""What a node does first so that it notices others within moments; torch looks through all modules that are loaded to
name the method of each event, which takes longer than that on a busy machine."""
NODE = (
    QUICK
    + """
import sys
from pathlib import Path
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.cluster.node import serve
serve(node_address.FolderCalls(PretrainJob, Path(sys.argv[1])), print)
"""
)
STEPS = 100


@pytest.fixture(autouse=True)
def at_home(home: Path) -> None:
    """All nodes have one home, and with it its secret."""


def options(**run: object) -> dict[str, object]:
    return {"tokens": STEPS * 128, "run": {"checkpoint_steps": 7, "max_restarts": 20, **run}}


def on_two_nodes(**run: object) -> dict[str, object]:
    return options(nodes=2, rendezvous=f"127.0.0.1:{free_ports(1)[0]}", **run)


def node(loaded: Preloaded, job: PretrainJob, log: str) -> Child:
    folder = job.work.root.parent
    return loaded.start(["-c", NODE, str(folder)], environment(job), folder / f"{log}.out", folder / f"{log}.errors")


def below(child: Child, count: int) -> list[psutil.Process]:
    """The processes below one, once there are so many."""
    found: list[psutil.Process] = []

    def there() -> bool:
        found[:] = psutil.Process(child.pid).children(recursive=True)
        return len(found) == count

    wait_for(there, f"there were never {count} processes")
    return found


def test_a_node_that_is_killed_and_comes_back_and_an_agent_that_is_killed_leave_the_undisturbed_weights(
    make_job: MakeJob, loaded: Preloaded, tmp_path: Path
) -> None:
    whole, job = make_job("whole", GPT2, **options(processes=2)), make_job("nodes/a", GPT2, **on_two_nodes())
    undisturbed, other = Body(whole, loaded), node(loaded, job, "first")
    body = Body(job, loaded, QUICK)
    first = body.reach(15)
    assert len(first) == 2, "an agent and one trainer on this node"
    theirs = below(other, 2)
    os.kill(other.pid, signal.SIGKILL)
    wait_for(lambda: gone(theirs), "the node's processes outlived it")
    back = node(loaded, job, "back")
    body.replaced(first[1:])
    body.reach(35)
    below(back, 2)
    assert "starting all again from the checkpoint of step" in body.out()
    psutil.Process(body.process.pid).children()[0].kill()
    said = body.said()  # the other node's trainer may have said first what it saw
    assert "ChildKilled: the trainer was ended by a signal" in said or "Transient: the training processes lost" in said
    again = Body(job, loaded, QUICK)
    for one in (undisturbed, again):
        errors = one.said()
        assert one.process.returncode == 0, errors
    assert outcome(job) == outcome(whole)
    assert curve(job) == curve(whole)
    assert not job.rendezvous_file.exists()
    wait_for(lambda: "waiting for a training" in (tmp_path / "nodes" / "back.out").read_text(), "it never waited")
    back.send_signal(signal.SIGINT)
    assert back.wait() == 1


def test_an_interrupted_node_lets_all_of_them_save(make_job: MakeJob, loaded: Preloaded) -> None:
    job = make_job("nodes/a", GPT2, **on_two_nodes())
    other, body = node(loaded, job, "other"), Body(job, loaded, QUICK)
    body.reach(15)
    other.send_signal(signal.SIGTERM)
    said = body.said()
    assert f"ChildKilled: interrupted: saved at step {job.work.progress} of {STEPS}" in said
    other.wait()


def test_nodes_that_do_not_come_in_time_end_the_run_with_what_to_do(make_job: MakeJob, loaded: Preloaded) -> None:
    job = make_job("nodes/a", GPT2, **on_two_nodes(rendezvous_timeout=1))
    said = Body(job, loaded, QUICK).said()
    assert "HostError: the 2 nodes of this training were not together within pretrain.run.rendezvous_timeout=1" in said
    assert "fromzero train-node" in said


def test_the_newest_rendezvous_counts_and_one_whose_first_node_is_gone_is_not_reachable(make_job: MakeJob) -> None:
    old, new = make_job("nodes/a", **on_two_nodes()), make_job("nodes/b", **on_two_nodes())
    folder = old.work.root.parent
    assert node_address.newest(folder) is None
    with node_address.called(old) as first:
        assert node_address.newest(folder) == first
        with node_address.called(new) as second:
            os.utime(old.rendezvous_file, (0, 0))
            assert node_address.newest(folder) == second
            assert node_address.newest(folder, old.conf.run.rendezvous) == first, "one that is named"
        assert node_address.newest(folder) == first is not None and not first.reachable()
    write_atomically(old.rendezvous_file, node_address.Rendezvous("left", "127.0.0.1:1", "j").sealed)
    left = node_address.newest(folder)
    assert left is not None and left.id == "left" and not left.reachable()


def test_a_port_that_is_taken_is_refused_before_anything_starts(make_job: MakeJob) -> None:
    job = make_job(**on_two_nodes())
    with socket.socket() as taken:
        taken.bind(("", int(str(job.conf.run.rendezvous).rpartition(":")[2])))
        taken.listen()
        with pytest.raises(HostError, match="end the other training"), node_address.called(job):
            pass


def test_a_name_that_only_here_leads_back_to_this_machine_is_listened_for_at_its_address_towards_the_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_address, "_towards_outside", lambda: "10.0.0.7")
    for host, resolved, listened in (
        ("box", "127.0.1.1", "10.0.0.7"),
        ("localhost", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("box", "192.0.2.4", "192.0.2.4"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda *_, found=resolved, **__: [(2, 1, 6, "", (found, 1))])
            assert node_address.address_of(f"{host}:29400") == listened
    with pytest.raises(HostError, match="has no address here"):
        node_address.address_of("no.such.name.invalid:29400")


@pytest.mark.parametrize("name", ["localhost", "localhost.localdomain", "1.0.0.127.in-addr.arpa"])
def test_a_machine_that_calls_itself_localhost_is_met_at_its_address(
    name: str, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(**options(nodes=2))
    monkeypatch.setattr(node_address, "PORT", free_ports(1)[0])
    monkeypatch.setattr(socket, "getfqdn", lambda: name)
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: None)
    monkeypatch.setattr(socket.socket, "getsockname", lambda self: ("10.0.0.7", 9))
    monkeypatch.setattr(node_address, "_refuse_if_taken", lambda endpoint: None)  # no address of the machine that tests
    with node_address.called(job) as called:
        assert called is not None and called.endpoint == f"10.0.0.7:{node_address.PORT}"


def test_a_machine_that_only_knows_itself_is_refused_before_anything_runs(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(**options(nodes=2))
    monkeypatch.setattr(socket, "getfqdn", lambda: "localhost")
    monkeypatch.setattr(node_address, "OUTSIDE", ("127.0.0.1", 9))
    with pytest.raises(HostError, match=r"give pretrain\.run\.rendezvous=HOST:PORT"):
        steps.check_device(job.conf.run)
    steps.check_device(make_job(**on_two_nodes()).conf.run)
    monkeypatch.setattr(socket, "getfqdn", lambda: "first.cluster")
    steps.check_device(job.conf.run)
