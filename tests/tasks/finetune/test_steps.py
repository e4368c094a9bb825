"""Kill a fine-tuning step anywhere, and the weights come out the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.schema.finetune import FinetuneRun, LstmNetwork, TuneConf
from tasks.core.artifact import hash_file
from tasks.core.errors import ChildKilled
from tasks.core.workdir import Workdir
from tasks.models.chat.chat_options import ChatConf
from tasks.models.preference.preference_options import PreferenceConf
from tasks.models.text_classification.classifier_options import ClassifyConf
from tasks.models.text_regression.number_options import RegressConf
from tasks.models.token_classification.span_options import SpanConf
from tasks.text import targets
from tasks.training.trainer.trainer import Trainer
from tests.tasks.finetune.child import run
from tests.tasks.tiny_model import chat_rows, lora, table

UPDATE = Trainer.update
ROOT = Path(__file__).parents[3]
RUN = FinetuneRun(device="cpu", threads=1, log_every=3, checkpoint_steps=4)
LSTM = LstmNetwork(kind="lstm", width=8, hidden=8)
CONFS: dict[str, TuneConf] = {
    "chat": ChatConf(
        batch_size=4,
        max_length=40,
        epochs=6,
        eval_every=7,
        method=lora(2, dropout=0.1),
        run=RUN,
    ),
    "classify": ClassifyConf(
        batch_size=4, max_length=24, epochs=8, eval_every=9, learning_rate=0.02, min_per_class=2, patience=4, run=RUN
    ),
    "rate": RegressConf(batch_size=4, max_length=24, epochs=4, eval_every=9, patience=9, network=LSTM, run=RUN),
    "find": SpanConf(batch_size=4, max_length=24, epochs=4, eval_every=9, patience=9, run=RUN),
    "prefer": PreferenceConf(batch_size=4, max_length=40, epochs=4, eval_every=9, method=lora(2, dropout=0.1), run=RUN),
}


def digests(work: Path) -> dict[str, str]:
    content = work / "content"
    return {str(path.relative_to(content)): hash_file(path) for path in content.rglob("*") if path.is_file()}


def whole_checkpoints(work: Path) -> list[int]:
    return [int(path.parent.name.split("-")[1]) for path in work.glob("scratch/checkpoints/*/COMPLETE.json")]


@pytest.fixture(scope="module", params=["chat", "classify"])
def undisturbed(
    request: pytest.FixtureRequest, model_dir: Path, docs_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, str], int]:
    """The step's name, what it makes, and its number of optimizer steps."""
    work = tmp_path_factory.mktemp("undisturbed")
    stats = run(request.param, CONFS[request.param].model_dump_json(), model_dir, docs_dir, work)
    return request.param, digests(work), stats["steps"]


@pytest.fixture(scope="module")
def docs_with_targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents that say a number, a span and a worse answer each."""
    folder = tmp_path_factory.mktemp("targets")
    for part, count, seed in (("train", 60, 1), ("valid", 16, 2)):
        rows = chat_rows(count, seed)
        said = [{"number": n / 7, "spans": [[0, 4, "WHO"]], "rejected": f"no {n}"} for n in range(count)]
        (folder / part).mkdir()
        told = pl.Series([targets.write(one) for one in said], dtype=pl.String)
        table(rows).with_columns(targets=told).write_parquet(folder / part / "docs.parquet")
    return folder


@pytest.mark.parametrize("name", ["rate", "find", "prefer"])
def test_killed_at_a_random_step_every_kind_ends_with_the_undisturbed_runs_bytes(
    name: str, model_dir: Path, docs_with_targets: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    stats = run(name, CONFS[name].model_dump_json(), model_dir, docs_with_targets, whole)
    step = random.randrange(4, stats["steps"] - 8)
    signal_after(start(name, model_dir, docs_with_targets, killed), killed, step, signal.SIGKILL)
    run(name, CONFS[name].model_dump_json(), model_dir, docs_with_targets, killed)
    assert digests(killed) == digests(whole) and Workdir(killed).progress == stats["steps"]


def start(name: str, model_dir: Path, docs_dir: Path, work: Path) -> subprocess.Popen[bytes]:
    arguments = [name, CONFS[name].model_dump_json(), *map(str, (model_dir, docs_dir, work))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.tasks.finetune.child", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def signal_after(child: subprocess.Popen[bytes], work: Path, step: int, number: int) -> None:
    """Send the signal once a whole checkpoint at `step` or later is there, some milliseconds later at random."""
    while child.poll() is None and max(whole_checkpoints(work), default=0) < step:
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.05))
    if child.poll() is None:
        os.killpg(child.pid, number)
    child.wait()


def test_killed_twice_at_random_steps_it_ends_with_the_undisturbed_runs_bytes(
    undisturbed: tuple[str, dict[str, str], int], model_dir: Path, docs_dir: Path, tmp_path: Path
) -> None:
    name, expected, steps = undisturbed
    for step in sorted(random.sample(range(1, steps - 8), 2)):
        signal_after(start(name, model_dir, docs_dir, tmp_path), tmp_path, step, signal.SIGKILL)
    run(name, CONFS[name].model_dump_json(), model_dir, docs_dir, tmp_path)
    assert digests(tmp_path) == expected
    assert Workdir(tmp_path).progress == steps


def test_sigterm_saves_a_checkpoint_and_the_next_run_ends_with_the_same_bytes(
    undisturbed: tuple[str, dict[str, str], int],
    model_dir: Path,
    docs_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, expected, _ = undisturbed
    seldom = CONFS[name].model_copy(update={"run": RUN.model_copy(update={"checkpoint_steps": 1000})})
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "update", terminate_at_step_6)
        with pytest.raises(ChildKilled, match="interrupted: saved at step 7"):
            run(name, seldom.model_dump_json(), model_dir, docs_dir, tmp_path)
    assert whole_checkpoints(tmp_path) == [7] and Workdir(tmp_path).progress == 7
    run(name, seldom.model_dump_json(), model_dir, docs_dir, tmp_path)
    assert digests(tmp_path) == expected


def terminate_at_step_6(self: Trainer, *flags: bool) -> Any:
    if self.step == 6:
        os.kill(os.getpid(), signal.SIGTERM)
    return UPDATE(self, True if self.step == 6 else flags[0], *flags[1:])


def test_a_run_that_had_finished_training_only_writes_its_model_again(
    undisturbed: tuple[str, dict[str, str], int],
    model_dir: Path,
    docs_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, expected, _ = undisturbed
    run(name, CONFS[name].model_dump_json(), model_dir, docs_dir, tmp_path)
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    for path in (moved / "content").rglob("*"):
        if path.is_file():
            path.unlink()
    monkeypatch.setattr(Trainer, "update", None)
    run(name, CONFS[name].model_dump_json(), model_dir, docs_dir, moved)
    assert digests(moved) == expected
