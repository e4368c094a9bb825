"""Fine-tuning's numbers beside those of plain transformers, and what depends on nothing but the options."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from conf.schema.finetune import FinetuneRun, TuneConf
from tasks.core.errors import ChildKilled, ConfigError, StepError
from tasks.core.workdir import Workdir
from tasks.finetune import export, tuning
from tasks.finetune.answer_loss import AnswerLoss
from tasks.finetune.examples import Collate, Row, next_tokens
from tasks.finetune.tune_job import TuneJob
from tasks.finetune.tune_loop import TuneLoop
from tasks.finetune.tuning import set_up, tune
from tasks.formats.tokens import IGNORE
from tasks.models.chat import chat_training
from tasks.models.chat.chat_options import ChatConf
from tasks.models.text_classification import classifier_training
from tasks.models.text_classification.classifier_options import ClassifyConf
from tasks.training.network.model import LossModule
from tests.tasks.finetune.families import CAUSAL, write_family
from tests.tasks.tiny_model import chat_rows, lora, table

CPU = FinetuneRun(device="cpu", threads=1, precision="fp32", log_every=1)
STILL = 1e-12
"""A rate of next to nothing, so that what is measured is the model that is there."""


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """No test leaves its process in a group."""
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.fixture
def work(tmp_path: Path) -> Workdir:
    made = Workdir(tmp_path / "work")
    made.make()
    return made


@pytest.fixture(scope="module")
def rows(model_dir: Path) -> list[Row]:
    return chat_training.examples(table(chat_rows(20, 0)), export.load_tokenizer(model_dir), 64).rows


def whole_model(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """All weights of a causal model."""
    network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return AnswerLoss(network), next_tokens(0)


def stopped_in_three(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """`whole_model`, whose process gets a signal in its third step."""
    loss, collate = whole_model(model, about)
    passes = iter(range(10**6))
    loss.register_forward_pre_hook(lambda *_: os.kill(os.getpid(), signal.SIGTERM) if next(passes) == 2 else None)
    return loss, collate


def never_a_number(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """`whole_model` with a weight that is none."""
    loss, collate = whole_model(model, about)
    with torch.no_grad():
        next(loss.parameters()).fill_(math.nan)
    return loss, collate


def loop_of(build: Any, model: Path, rows: list[Row], conf: TuneConf, work: Workdir, about: Any = None) -> TuneLoop:
    """A loop before its first step."""
    shared = TuneConf.model_validate({name: getattr(conf, name) for name in TuneConf.model_fields})
    job = TuneJob(shared, f"{build.__module__}:{build.__name__}", str(model), about or {}, None, root=str(work.root))
    for part in ("train", "valid"):
        tuning.examples.write(job.examples, part, rows)
    return TuneLoop(job, TuneLoop.place_of(job))


def gradients_of_step(loop: TuneLoop, step: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients that the loop makes of the batch of one step."""
    trainer, seen = loop.trainer, {}

    def keep(rate: float) -> None:
        seen.update({name: one.grad.clone() for name, one in trainer.named.items() if one.grad is not None})

    trainer.step, trainer.optimizer = step, _Kept(trainer.optimizer, keep)  # type: ignore[assignment]
    return trainer.update().loss, seen


class _Kept:
    """An optimizer that changes nothing."""

    def __init__(self, inner: Any, keep: Callable[[float], None]) -> None:
        self.inner, self.update = inner, keep

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize("micro_batch", [1, 8])
@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("family", sorted(CAUSAL))
def test_loss_and_gradients_are_those_of_plain_transformers_however_a_batch_is_cut(
    family: str, step: int, micro_batch: int, tmp_path: Path, work: Workdir
) -> None:
    """The third batch of twenty examples in eights is a short one."""
    folder = write_family(tmp_path / "model", family)
    rows: list[Row] = []
    for n in range(20):
        ids = [(7 * n + 3 * place) % 50 + 4 for place in range(3 + n % 5)]
        rows.append({"input_ids": ids, "labels": [IGNORE, *ids[1:-1], ids[-1] if n % 2 else IGNORE]})
    conf = TuneConf(
        batch_size=8, learning_rate=1e-3, max_grad_norm=1e9, run=CPU.model_copy(update={"micro_batch": micro_batch})
    )
    loop = loop_of(whole_model, folder, rows, conf, work)
    loop.trainer.loss_module.eval()  # no dropout
    loss, found = gradients_of_step(loop, step)
    batch = loop.trainer.data.train[8 * step : 8 * step + 8]
    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logits = [network(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1] for row in batch]
    labels = torch.cat([torch.tensor(row["labels"][1:]) for row in batch])
    wanted = F.cross_entropy(torch.cat(logits), labels, ignore_index=IGNORE)
    wanted.backward()
    assert len(batch) == (8 if step == 0 else 4) and loss == pytest.approx(float(wanted.detach()), rel=1e-5)
    plain = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    assert found.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("micro_batch", [1, 8])
def test_a_classifier_s_loss_and_gradients_are_the_mean_by_the_weights_of_classes(
    micro_batch: int, model_dir: Path, work: Workdir
) -> None:
    rows: list[Row] = [{"input_ids": [n % 300 + 5, 7, *[9] * (n % 3)], "labels": int(n % 5 == 0)} for n in range(20)]
    conf = ClassifyConf(
        batch_size=8,
        learning_rate=1e-3,
        epochs=1,
        ngrams=0,
        max_grad_norm=1e9,
        run=CPU.model_copy(update={"micro_batch": micro_batch}),
    )
    weights = classifier_training.class_weights([16, 4], conf)
    about = {"conf": conf.model_dump(mode="json"), "names": ["a", "b"], "weights": weights}
    loop = loop_of(classifier_training.build, model_dir, rows, conf, work, about)
    loss, found = gradients_of_step(loop, 2)
    batch = loop.trainer.data.train[16:]
    network = classifier_training.make_network(model_dir, ["a", "b"], 0, conf)
    logits = torch.cat([network(input_ids=torch.tensor([row["input_ids"]])).logits for row in batch])
    labels = torch.tensor([row["labels"] for row in batch])
    wanted = F.cross_entropy(logits, labels, torch.tensor(weights))
    wanted.backward()
    assert loss == pytest.approx(float(wanted.detach()), rel=1e-5)
    for name, one in network.named_parameters():
        if one.grad is not None:
            torch.testing.assert_close(found[name], one.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [3, 8, 30])
def test_the_loss_on_held_out_answers_is_per_token_whatever_the_batch_size(
    model_dir: Path, work: Workdir, rows: list[Row], batch_size: int
) -> None:
    tokenizer = export.load_tokenizer(model_dir)
    held = [{"role": "user", "content": "say"}, {"role": "assistant", "content": "axis shape stride " * 5}]
    valid = chat_training.examples(table([*chat_rows(9, 5), {"text": "t", "messages": held}]), tokenizer, 64).rows
    conf = ChatConf(batch_size=batch_size, learning_rate=STILL, eval_every=1, method=lora(1), run=CPU)
    set_up(conf)
    network = chat_training.make_network(model_dir, tokenizer, conf).eval()
    with torch.no_grad():
        logits = [network(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1].double() for row in valid]
    labels = torch.cat([torch.tensor(row["labels"][1:]) for row in valid])
    wanted = F.cross_entropy(torch.cat(logits), labels, ignore_index=IGNORE)
    about = {"conf": conf.model_dump(mode="json")}
    outcome = tune(chat_training.build, model_dir, rows[:batch_size], valid, conf, work, about)
    assert outcome.valid_loss == pytest.approx(float(wanted.detach()), rel=1e-5)


def test_two_processes_with_copies_or_shards_learn_what_one_does(
    model_dir: Path, rows: list[Row], tmp_path: Path
) -> None:
    found = []
    for processes, parallel in ((1, "auto"), (2, "ddp"), (2, "fsdp")):
        made = Workdir(tmp_path / f"{processes}-{parallel}")
        made.make()
        run = CPU.model_copy(update={"processes": processes, "parallel": parallel, "malloc": False})
        conf = TuneConf(batch_size=6, learning_rate=1e-3, eval_every=2, run=run)
        outcome = tune(whole_model, model_dir, rows, rows[:5], conf, made)
        found.append((outcome, load_file(outcome.weights)))
    (one, weights), *others = found
    for two, theirs in others:
        assert one.steps == two.steps == 4 and two.valid_loss == pytest.approx(one.valid_loss, rel=1e-4)
        for name, value in weights.items():
            torch.testing.assert_close(theirs[name], value, atol=1e-4, rtol=1e-3)


def test_a_signal_saves_and_the_next_call_ends_as_one_that_had_none(
    model_dir: Path, rows: list[Row], tmp_path: Path
) -> None:
    conf, found = TuneConf(batch_size=4, learning_rate=1e-3, run=CPU), []
    before = signal.getsignal(signal.SIGTERM)
    for name in ("calm", "stopped"):
        made = Workdir(tmp_path / name)
        made.make()
        if name == "stopped":
            with pytest.raises(ChildKilled, match="interrupted: saved at step 4 of 5"):
                tune(stopped_in_three, model_dir, rows, rows[:3], conf, made)
            assert signal.getsignal(signal.SIGTERM) is before and not dist.is_initialized()
        found.append(load_file(tune(whole_model, model_dir, rows, rows[:3], conf, made).weights))
    calm, stopped = found
    assert all(torch.equal(calm[name], value) for name, value in stopped.items())


def test_training_ends_early_with_the_best_weights(model_dir: Path, rows: list[Row], work: Workdir) -> None:
    conf = TuneConf(batch_size=4, epochs=30, learning_rate=3.0, warmup=0.0, eval_every=1, run=CPU)
    outcome = tune(whole_model, model_dir, rows, rows[:3], conf, work, patience=3)
    assert outcome.steps < 150 and outcome.best_step == outcome.steps - 3
    network: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    outcome.load_into(network)
    with torch.no_grad():
        logits = [network(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1] for row in rows[:3]]
    labels = torch.cat([torch.tensor(row["labels"][1:]) for row in rows[:3]])
    assert float(F.cross_entropy(torch.cat(logits), labels)) == pytest.approx(outcome.valid_loss, rel=1e-5)


def test_a_loss_that_is_not_a_number_ends_the_step_with_a_fix(model_dir: Path, rows: list[Row], work: Workdir) -> None:
    with pytest.raises(StepError, match=r"valid_loss is nan at step 5: lower models\.NAME\.train\.learning_rate"):
        tune(never_a_number, model_dir, rows, rows[:3], TuneConf(batch_size=4, learning_rate=1.0, run=CPU), work)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to run on")
def test_fine_tuning_that_finds_no_gpu_runs_on_the_cpu_as_its_message_says() -> None:
    with pytest.raises(ConfigError, match=r"set models\.NAME\.train\.run\.device=cpu"):
        set_up(TuneConf(run=FinetuneRun(device="cuda")))
    assert not set_up(TuneConf(run=CPU))


def test_the_head_that_an_encoder_brings_is_tuned_with_it(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "model", "bert")
    network = classifier_training.make_network(folder, ["a", "b"], 0, ClassifyConf())
    assert isinstance(network, type(AutoModelForSequenceClassification.from_config(network.config)))


def test_shards_that_do_not_divide_the_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="shard_processes=2 does not divide the 3 processes"):
        FinetuneRun(processes=3, shard_processes=2)
    with pytest.raises(ValueError, match="shard_processes is not for parallel=ddp"):
        FinetuneRun(processes=2, shard_processes=2, parallel="ddp")
    assert FinetuneRun(processes=4, shard_processes=2).readers == 4
