"""The whole chain under real signals, races, full disks and a lost S3: the same model in the end, nothing left over."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline_process import House, copied, empty, eventually, finished
from tests.s3_server import S3Server

WORKER = ("tasks.pretrain.trainer.pretrain_worker", "tasks.training.cluster.elastic")
"""Words of a training process's command line: one that it has, one that its launcher has besides."""
STEPS = 60
"""Optimizer steps of the recipe's pretraining."""


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> House:
    """A copy whose runs start, join and stop a Prefect server of their own."""
    return copied(finished(tmp_path_factory), tmp_path)


@pytest.fixture
def draw() -> random.Random:
    """Random numbers; the seed is shown when the test fails."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


def pretraining(house: House, draw: random.Random, until: Callable[[Callable[[], Any]], Any]) -> int:
    """Wait for a random step of pretraining and a checkpoint; the process id of the trainer.

    The trainer is stopped there, so that it cannot end before the test has done to it what it is about; `let_go` lets
    it go on.
    """
    goal = draw.randint(4, STEPS // 2)
    print(f"waiting for step {goal}")
    until(lambda: house.trained("pretrain") >= 1)
    (worker,) = house.processes(*WORKER)
    until(lambda: house.trained("pretrain") >= goal and house.saved("pretrain"))
    os.kill(worker, signal.SIGSTOP)
    return worker


def let_go(worker: int) -> None:
    """Let a stopped trainer go on, if it still lives."""
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)


def kill(process: int) -> None:
    """SIGKILL to a process, if it has not gone by itself: the end of one may end others."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def test_a_killed_trainer_is_started_again_from_its_checkpoint_and_makes_the_same_model(
    house: House, draw: random.Random
) -> None:
    digest = house.digest("pretrain")
    house.forget("pretrain")
    run = house.begin()
    os.kill(pretraining(house, draw, run.until), signal.SIGKILL)
    found = run.wait()
    assert found.made() == {"pretrain"}, "what follows must be cached, as the weights are the same"
    assert found.step("pretrain")["attempts"] == 1, "it is torchrun that starts it again"
    assert "starting all again from the checkpoint of step" in logged(house, "pretrain")
    assert "resuming from the checkpoint of step" in logged(house, "pretrain")
    assert house.digest("pretrain") == digest


def test_a_killed_fine_tuning_goes_on_and_makes_the_same_model(house: House, draw: random.Random) -> None:
    digest = house.digest("finetune_chat")
    house.forget("finetune_chat")
    run = house.begin("--until", "finetune_chat")
    goal = draw.randint(3, 7)
    run.until(lambda: house.trained("finetune_chat") >= 1)
    children = house.processes("tasks.core.engine.child_process")
    run.until(lambda: house.trained("finetune_chat") >= goal)
    for child in children:
        kill(child)
    found = run.wait()
    assert found.made() == {"finetune_chat"}
    assert found.step("finetune_chat")["attempts"] == 2
    assert house.digest("finetune_chat") == digest


@pytest.mark.parametrize("all_at_once", [False, True], ids=["the run", "the run and all its children"])
def test_a_killed_run_leaves_no_trainer_and_the_next_one_makes_the_same_model(
    house: House, draw: random.Random, all_at_once: bool
) -> None:
    digest = house.digest("pretrain")
    house.forget("pretrain")
    run = house.begin()
    trainer = pretraining(house, draw, run.until)
    for pid in house.processes() if all_at_once else [run.process.pid]:
        kill(pid)
    let_go(trainer)
    run.wait(code=-signal.SIGKILL)
    assert eventually(lambda: not house.processes()), "a process outlived its run"
    assert house.manifests("pretrain") == []
    found = house.run()
    assert found.made() == {"pretrain"}
    assert "resuming from the checkpoint of step" in logged(house, "pretrain")
    assert house.digest("pretrain") == digest
    house.whole()


def logged(house: House, step: str) -> str:
    """What a step has printed in all runs."""
    return "\n".join(path.read_text() for path in (house.home / "logs").glob(f"*/{step}.log"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupt_saves_and_stops_all_processes_and_the_next_run_goes_on(
    alone: House, draw: random.Random, number: signal.Signals
) -> None:
    digest = alone.digest("pretrain")
    alone.forget("pretrain")
    run = alone.begin()
    trainer = pretraining(alone, draw, run.until)
    run.signal(number)
    let_go(trainer)
    found = run.wait(code=130)
    assert "go on with the same command" in found.err.lower()
    assert "Traceback" not in found.err
    assert eventually(lambda: not alone.processes()), "a process outlived its run"
    assert "interrupted: saved at step" in logged(alone, "pretrain")
    assert alone.manifests("pretrain") == []
    again = alone.run()
    assert again.made() == {"pretrain"}
    assert "resuming from the checkpoint of step" in logged(alone, "pretrain")
    assert alone.digest("pretrain") == digest
    assert eventually(lambda: not alone.processes()), "the server outlived the last run"


@pytest.mark.parametrize(
    ("step", "number"),
    [(None, signal.SIGINT), ("check_documents", signal.SIGTERM), ("finetune_classifier", signal.SIGUSR1)],
)
def test_an_interrupt_at_any_other_moment_ends_the_run_with_130_and_no_process_left(
    house: House, draw: random.Random, step: str | None, number: signal.Signals
) -> None:
    house.forget(step or "cluster")
    run = house.begin()
    run.until(run.begun(step) if step else lambda: "tiny: " in run.said)
    time.sleep(draw.uniform(0, 1.5))
    run.signal(number)
    found = run.wait(code=130)
    assert "go on with the same command" in found.err.lower()
    assert eventually(lambda: not house.processes()), "a process outlived its run"
    assert house.run().made() <= {step or "cluster"}


def test_two_runs_at_once_make_each_step_once_and_share_a_server(alone: House) -> None:
    lost = ("clean_shard", "pretrain", "evaluate_lm")
    alone.forget(*lost)
    pair = [alone.begin() for _ in range(2)]
    found = [run.wait() for run in pair]
    made = [sorted(run.made()) for run in found]
    assert sorted([*made[0], *made[1]]) == sorted(
        ["clean_shard[chat-000]", "clean_shard[mine-000]", "clean_shard[packages-000]", "pretrain", "evaluate_lm"]
    )
    assert [{model["name"]: model["version"] for model in run.json["models"]} for run in found] == [
        {"tiny-base": 1, "tiny-chat": 1, "tiny-classifier": 1}
    ] * 2
    assert eventually(lambda: not alone.processes()), "the server outlived the last run"
    alone.whole()


def test_the_second_run_takes_over_when_the_first_is_killed(alone: House, draw: random.Random) -> None:
    digest = alone.digest("pretrain")
    alone.forget("pretrain")
    first = alone.begin()
    trainer = pretraining(alone, draw, first.until)
    second = alone.begin()
    second.until(lambda: "is being made by another run" in second.said)
    first.signal(signal.SIGKILL)
    let_go(trainer)
    first.wait(code=-signal.SIGKILL)
    found = second.wait()
    assert found.made() == {"pretrain"}
    assert alone.digest("pretrain") == digest
    assert eventually(lambda: not alone.processes())


def test_a_home_that_cannot_be_written_is_one_clear_error(whole: House, tmp_path: Path) -> None:
    house = empty(whole, tmp_path)
    aside = house.home.rename(tmp_path / "aside")
    house.home.write_text("a file, where the folder should be")
    found = house.run(code=1)
    assert str(house.home) in found.err and "set FROMZERO_HOME to a folder" in found.err
    assert "Traceback" not in found.err
    house.home.unlink()
    aside.rename(house.home)
    house.run("--until", "fetch_shard")


def test_a_store_that_cannot_be_written_is_one_clear_error_and_the_next_run_goes_on(
    whole: House, tmp_path: Path
) -> None:
    house = empty(whole, tmp_path)
    place = tmp_path / "disk"
    place.write_text("a file, where the folder should be")
    found = house.run(f"store.path={place}/store", "--until", "fetch_shard", code=1)
    assert str(place) in found.err and "store.path" in found.err
    place.unlink()
    assert len(house.run(f"store.path={place}/store", "--until", "fetch_shard").made()) == 3


@dataclass
class Disk:
    """A disk of a few MB; where none can be mounted, a limit on the size of a file takes its place."""

    folder: Path
    mounted: bool

    def fill(self, leave: int) -> None:
        """Leave so many bytes."""
        free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
        if self.mounted:
            (self.folder / "ballast").write_bytes(b"\0" * (free - leave))

    def free(self) -> None:
        """Make room again."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def limited(self, leave: int) -> None:
        """In the child, before it is started."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (leave, resource.RLIM_INFINITY))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    yield Disk(folder, mounted)
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_training_with_a_clear_error_and_freeing_it_is_enough(
    whole: House, disk: Disk, tmp_path: Path, draw: random.Random
) -> None:
    leave = draw.choice([60_000, 500_000])
    house = copied(whole, disk.folder)
    digest = house.digest("pretrain")
    house.forget("pretrain")
    outside = House(tmp_path, house.home, house.tree, house.recipe, house.texts, house.url)
    disk.fill(leave)
    failed = outside.begin("--until", "pretrain", preexec_fn=lambda: disk.limited(leave)).wait(code=1)
    assert "the disk is full" in failed.err or "ulimit" in failed.err
    assert house.manifests("pretrain") == []
    disk.free()
    assert outside.run("--until", "pretrain").made() == {"pretrain"}
    assert house.digest("pretrain") == digest


def test_s3_that_goes_away_in_the_middle_is_named_and_the_next_run_goes_on(
    whole: House, tmp_path: Path, draw: random.Random
) -> None:
    with S3Server(tmp_path / "s3") as server:
        server.make_bucket("texts-to-tokens")
        house = empty(whole, tmp_path)
        words = [
            "store=s3", "store.bucket=texts-to-tokens", f"store.endpoint={server.endpoint}",
            "--until", "tokenize_shard",
        ]  # fmt: skip
        run = house.begin(*words, "store.attempts=2", env=server.env)
        run.until(lambda: run.begun(draw.choice(["split_shard[mine-000]", "clean_shard[packages-000]"]))())
        server.kill()
        failed = run.wait(code=1)
        assert server.endpoint in failed.err
        server.start()
        again = house.run(*words, env=server.env)
        states = {step["step"]: step["state"] for step in again.json["steps"]}
        assert states["fetch_shard"] == "cached" and states["tokenize_shard"] == "completed"
        assert house.run(*words, env=server.env).made() == set()
        here = {(m["step"], m["shard"]): m["digest"] for m in whole.manifests("tokenize_shard")}
        there = {(s["step"], s["shard"]): s["digest"] for s in again.json["steps"]}
        assert here == {name: digest for name, digest in there.items() if name[0] == "tokenize_shard"}
