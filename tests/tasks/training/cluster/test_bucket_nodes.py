"""Two nodes, each with a home of its own, that share a bucket only: killed, and the bucket's server with them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.core.artifact import Artifact, Manifest
from tasks.core.errors import ArtifactError, Conflict, Transient
from tasks.core.store.open import open_store
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir
from tasks.pretrain.pretrain_job import PretrainJob, refs
from tasks.training.cluster import bucket_calls, rendezvous
from tasks.training.cluster.bucket_calls import CALL, BucketCalls
from tasks.training.cluster.node_identity import identity
from tasks.training.cluster.shared_store import StoreServer
from tasks.training.cluster.torchrun import environment
from tests.ports import free_ports
from tests.preloaded import Child, Preloaded
from tests.s3_server import S3Server
from tests.tasks.pretrain.conftest import GPT2
from tests.tasks.training.cluster.test_node import QUICK, STEPS, below, options
from tests.trainer_process import Body, curve, gone, outcome, wait_for

MakeJob = Callable[..., PretrainJob]
KEY = "f" * 64
NAME = f"pretrain/{KEY}"
NODE = f"{QUICK}\nfrom tasks.pretrain.steps import take_part\ntake_part(print)\n"


@dataclass
class Training:
    """One training whose store is in a bucket, as a first node has it under one lease."""

    store: Store
    asked: PretrainJob
    inputs: tuple[tuple[Artifact, ...], Artifact]
    loaded: Preloaded
    folder: Path

    def __post_init__(self) -> None:
        self.lease = self.store.backend.lock(NAME, timeout=120)
        work = self.store.backend.open_work(NAME, self.lease)
        work.make()
        self.job = self.placed(work)

    def placed(self, work: Workdir, **run: Any) -> PretrainJob:
        """As the step has it, with other options of how it is run."""
        conf = self.asked.conf.model_copy(update={"run": self.asked.conf.run.model_copy(update=run)})
        tokens, tokenizer = self.inputs
        job = PretrainJob.of(tokens, tokenizer, None, conf, work)
        return bucket_calls.share(job, refs(tokens, tokenizer, None))

    def mirror(self) -> None:
        """What the run does in the background."""
        self.store.backend.save_work(NAME, self.job.work, self.lease)

    def body(self) -> Body:
        """The step's body."""
        return Body(self.job, self.loaded, QUICK)

    def node(self, name: str) -> Child:
        """Another node, with a home of its own."""
        env = environment(self.job) | {"FROMZERO_HOME": str(self.folder / f"home-{name}")}
        out, errors = self.folder / f"{name}.out", self.folder / f"{name}.errors"
        return self.loaded.start(["-c", NODE], env, out, errors)

    def said(self, name: str) -> str:
        """What a node has printed."""
        return (self.folder / f"{name}.out").read_text()


def published(store: Store, step: str, source: Path, work: Path, shard: str | None = None) -> Artifact:
    draft = Workdir(work / source.name)
    draft.make()
    shutil.copytree(source, draft.content, dirs_exist_ok=True)
    made = Manifest(step, source.name.encode().hex().ljust(64, "0"), {}, "", "", (), {}, (), {}, shard)
    return store.artifact(store.publish(draft, made))


@pytest.fixture
def several(on_s3: S3Server, make_job: MakeJob, shards: Path, loaded: Preloaded, tmp_path: Path) -> Training:
    """A training by two nodes, whose inputs are in the bucket."""
    store = open_store()
    names = ("news-000", "talk-000")
    tokens = tuple(published(store, "tokenize_shard", shards / name, tmp_path / "drafts", name) for name in names)
    tokenizer = published(store, "train_tokenizer", shards / "tokenizer", tmp_path / "drafts")
    asked = make_job("asked", GPT2, **options(nodes=2, rendezvous=f"127.0.0.1:{free_ports(1)[0]}"))
    return Training(store, asked, (tokens, tokenizer), loaded, tmp_path)


def test_nodes_the_run_and_the_server_of_the_bucket_are_killed_and_the_weights_are_the_undisturbed_ones(
    several: Training, make_job: MakeJob, on_s3: S3Server, loaded: Preloaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, folder = several.job, several.folder
    whole = replace(make_job("whole", GPT2, **options(processes=2)), train=job.train, valid=job.valid)
    undisturbed, other, body = Body(whole, loaded), several.node("first"), several.body()
    first = body.reach(15)
    several.mirror()
    theirs = below(other, 2)
    os.kill(other.pid, signal.SIGKILL)
    wait_for(lambda: gone(theirs), "the node's processes outlived it")
    back = several.node("back")  # another machine, which has nothing yet
    second = body.replaced(first[1:])
    body.reach(35)
    on_s3.kill()
    on_s3.start()
    reached = job.work.progress
    wait_for(lambda: job.work.progress > reached, "no checkpoint was kept any more")
    second[0].kill()  # the first process, which completes the checkpoints
    body.replaced(second)
    assert "starting all again from the checkpoint of step" in body.out()
    os.killpg(body.process.pid, signal.SIGKILL)  # the whole run
    body.process.wait()
    several.lease.release()

    monkeypatch.setenv("FROMZERO_HOME", str(folder / "home-third"))  # and goes on where nothing of it is
    again = replace(several, store=open_store())
    assert again.job.shared and job.shared and again.job.shared.epoch == job.shared.epoch + 1
    last = again.body()
    for one in (undisturbed, last):
        errors = one.said()
        assert one.process.returncode == 0, errors
    assert "resuming from the checkpoint of step" in last.out()
    assert outcome(again.job) == outcome(whole)
    assert curve(again.job) == curve(whole)
    wait_for(lambda: "waiting for a training in s3://" in several.said("back"), "it never waited")
    back.send_signal(signal.SIGINT)
    assert back.wait() == 1
    again.store.backend.close_work(NAME)
    assert not again.store.backend.names("_work/")
    again.lease.release()


def test_what_one_node_dies_of_ends_the_run_with_it_and_one_node_goes_on_alone(
    several: Training, make_job: MakeJob, loaded: Preloaded
) -> None:
    other, body = several.node("other"), several.body()
    body.reach(15)
    (trainer,) = (one for one in below(other, 2) if one.parent() != psutil.Process(other.pid))
    resource.prlimit(trainer.pid, resource.RLIMIT_FSIZE, (1000, 1000))
    said = body.said()
    assert "HostError" in said and "raise `ulimit -f`" in said
    os.kill(other.pid, signal.SIGKILL)
    alone = several.placed(several.job.work, nodes=1, rendezvous=None)
    assert alone.shared is not None, "the checkpoints are in the bucket"
    rest = Body(alone, loaded, QUICK)
    errors = rest.said()
    assert rest.process.returncode == 0, errors
    assert "resuming from the checkpoint of step" in rest.out() and curve(alone)[-1][0] == STEPS
    several.lease.release()


def test_an_interrupted_node_lets_all_of_them_save(several: Training) -> None:
    other, body = several.node("other"), several.body()
    body.reach(15)
    other.send_signal(signal.SIGTERM)
    said = body.said()
    assert f"ChildKilled: interrupted: saved at step {several.job.work.progress} of {STEPS}" in said
    other.wait()
    marks = [name for name in several.store.backend.names("_work/") if name.endswith("COMPLETE.json")]
    assert any(f"step-{several.job.work.progress:08d}/" in name for name in marks)
    several.lease.release()


def test_one_node_that_always_was_alone_keeps_its_checkpoints_in_its_work_directory(several: Training) -> None:
    assert several.placed(several.job.work, nodes=1).shared is None
    several.lease.release()


def test_the_newest_call_is_heard_until_it_is_withdrawn_and_what_is_none_is_not(
    several: Training, on_s3: S3Server
) -> None:
    job, calls = several.job, BucketCalls(PretrainJob, several.store, "pretrain")
    bucket = calls.bucket
    assert calls.newest() is None
    for nonsense in (b"", b"[]", b'{"job": "{}"}', b'{"id": "1", "endpoint": "a:1", "job": "[]"}', b"\xff"):
        name = f"_work/pretrain/{'0' * 64}/{CALL}"
        bucket.delete([name])
        bucket.put(name, nonsense, None)
        assert calls.newest() is None
    with bucket_calls.called(job) as called:
        assert calls.newest() == called
        assert BucketCalls(PretrainJob, several.store, "pretrain", "elsewhere:1").newest() is None
        mine = calls.job(called, several.folder / "node")
        assert (
            mine.shared and mine.shared.first.startswith("-----BEGIN CERTIFICATE-----") and "PRIVATE" not in called.job
        )
        assert mine.conf == job.conf and [Path(path).name for path in mine.train["news"]] == ["train"]
        on_s3.kill()
        assert calls.newest() == called, "no news is no news"
        on_s3.start()
    assert calls.newest() is None
    several.lease.release()


def test_a_holder_that_lost_its_lease_does_not_call_over_the_later_one(several: Training) -> None:
    assert several.job.shared
    later = replace(several.job, shared=replace(several.job.shared, epoch=several.job.shared.epoch + 1))
    calls = BucketCalls(PretrainJob, several.store, "pretrain")
    with bucket_calls.called(later) as called:
        with pytest.raises(Conflict, match="another run goes on"), bucket_calls.called(several.job):
            pass
        assert calls.newest() == called
    several.lease.release()


def test_inputs_that_are_lost_or_were_made_anew_are_not_trained_on(several: Training) -> None:
    calls = BucketCalls(PretrainJob, several.store, "pretrain")
    assert several.job.shared
    with bucket_calls.called(several.job) as called:
        told = json.loads(called.job)
        told["shared"]["inputs"]["tokenizer"]["digest"] = "0" * 64
        with pytest.raises(Transient, match="has another digest"):
            calls.job(replace(called, job=json.dumps(told)), several.folder / "node")
        told["shared"]["inputs"]["tokenizer"]["key"] = "1" * 64
        with pytest.raises(Transient, match="not made yet"):
            calls.job(replace(called, job=json.dumps(told)), several.folder / "node")
        told["shared"]["inputs"] = {}
        with pytest.raises(ArtifactError, match="without inputs"):
            calls.job(replace(called, job=json.dumps(told)), several.folder / "node")
    several.lease.release()


def test_the_first_cause_that_a_node_tells_is_what_all_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    (tmp_path / "identity").write_bytes(identity(b"i" * 32))
    server = StoreServer("127.0.0.1", port, tmp_path / "identity")
    for name, value in (("PLACE", f"127.0.0.1:{port}"), ("IDENTITY", str(tmp_path / "identity")), ("ROUND", "1")):
        monkeypatch.setenv(getattr(rendezvous, name), value)
    assert rendezvous.told() is None
    rendezvous.tell({"ok": False, "kind": "HostError", "message": "the disk is full"})
    rendezvous.tell({"ok": False, "kind": "Transient", "message": "lost"})
    assert rendezvous.told() == {"ok": False, "kind": "HostError", "message": "the disk is full"}
    monkeypatch.setenv(rendezvous.ROUND, "2")
    assert rendezvous.told() is None and server is not None, "another round's"
