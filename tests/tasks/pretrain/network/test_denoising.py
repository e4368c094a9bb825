"""bert, roberta and t5 (and mixtral, beside them) over a small real text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers

from conf.schema.model import ModelConf
from tasks.core.artifact import hash_file
from tasks.core.errors import ConfigError
from tasks.formats.tokens import IGNORE
from tasks.pretrain.data.objective import Masked, Span
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer.pretrain_loop import PretrainLoop
from tasks.pretrain.trainer.setup import make_trainer
from tasks.training.network.device import set_up
from tasks.training.network.model import blocks
from tasks.training.trainer.signals import Stop
from tasks.training.trainer.trainer import Trainer
from tests.tasks.pretrain import texts

DENOISERS = [texts.BERT, texts.ROBERTA, texts.T5]


def name(model: ModelConf) -> str:
    return model.architecture


def trainer_of(job: PretrainJob) -> Trainer:
    return make_trainer(job, set_up(job.conf.run))


def tensors(arrays: tuple[np.ndarray, ...]) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("model", DENOISERS, ids=name)
def test_no_token_changes_the_loss_of_another_document(model: ModelConf, root: Path, tmp_path: Path) -> None:
    trainer = trainer_of(texts.job(root, tmp_path, model))
    block = next(n for n in range(40) if len(np.unique(hiding(trainer, n)[1])) > 1)
    inputs, _ = hiding(trainer, block)
    read, of = (inputs[1], inputs[3]) if len(inputs) == 5 else (np.cumsum(inputs[1] == 0, axis=1),) * 2
    looked_up: list[torch.Tensor] = []
    for module in trainer.loss_module.modules():
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings == 400:
            module.register_forward_hook(lambda module, given, out: (out.retain_grad(), looked_up.append(out))[1])
    chosen = of[inputs[-1] != IGNORE][0]
    labels = np.where(of == chosen, inputs[-1], IGNORE)
    trainer.loss_module.eval()(*tensors((*inputs[:-1], labels)))[0].backward()
    assert len(looked_up) == (2 if model.architecture == "t5" else 1)
    for found, document in zip(looked_up, (read, of), strict=False):
        assert found.grad is not None
        moves = found.grad.abs().sum(-1).numpy() > 0
        assert moves[document == chosen].any() and not moves[document != chosen].any()


def hiding(trainer: Trainer, block: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """What is made of a block, and the document of each hidden token."""
    inputs = trainer.data.read([(0, block)], trainer.data.sources)
    of = inputs[3] if len(inputs) == 5 else np.cumsum(inputs[1] == 0, axis=1)
    return inputs, of[inputs[-1] != IGNORE]


@pytest.mark.parametrize("model", [*DENOISERS, texts.MIXTRAL], ids=name)
def test_a_small_text_is_learned_below_its_unigram_entropy(model: ModelConf, root: Path, tmp_path: Path) -> None:
    steps = 160 if model.architecture == "t5" else 70
    options: dict[str, Any] = {"peak_lr": 0.005} if model.architecture == "t5" else {}
    if model.architecture == "t5":
        model = model.model_copy(update={"config": {**model.config, "dropout_rate": 0.0}})
    trainer = trainer_of(texts.job(root, tmp_path, model, tokens=steps * 512, **options))
    for _ in range(steps):
        trainer.update()
    inputs = trainer.data.read([(0, block) for block in range(trainer.data.sources[0].blocks)], trainer.data.sources)
    special = (
        trainer.data.objective.known.special
        if isinstance(trainer.data.objective, Masked | Span)
        else np.arange(400) < 1
    )
    labels = np.where(special[np.maximum(inputs[-1], 0)], IGNORE, inputs[-1])  # sentinels are easily told
    with torch.no_grad():
        nats = float(trainer.loss_module.eval()(*tensors((*inputs[:-1], labels)))[0])
    assert nats / (labels != IGNORE).sum() < texts.unigram_entropy(root) - 0.1


class StopAt:
    """Asked to stop at a step, as by a signal."""

    def __init__(self, loop: PretrainLoop, step: int) -> None:
        self.loop, self.step = loop, step

    @property
    def asked(self) -> bool:
        return self.loop.trainer.step >= self.step


def run(job: PretrainJob, *stops: int) -> tuple[Trainer, str, str, str]:
    """Train to the end in one process after another, each asked to stop at a step; the trainer, digests and curve."""
    place = set_up(job.conf.run)
    for stop in (*stops, job.conf.segment.steps):
        loop = PretrainLoop(job, place)
        assert loop.run(cast(Stop, StopAt(loop, stop))) == (stop == job.conf.segment.steps)
        loop.checkpoints.close()
    loop.export()
    content = job.work.content
    files = (content / "model" / "model.safetensors", content / "state" / "optimizer.safetensors")
    rows = map(json.loads, job.work.metrics_file.read_text().splitlines())
    curve = [[row.get(name) for name in ("step", "loss", "valid_loss", "grad_norm")] for row in rows]
    return loop.trainer, *(hash_file(path) for path in files), str(curve)


@pytest.mark.parametrize("model", DENOISERS, ids=name)
def test_a_resumed_run_has_the_bits_of_one_that_never_stopped_and_exports_equal_logits(
    model: ModelConf, root: Path, tmp_path: Path
) -> None:
    trainer, *whole = run(texts.job(root, tmp_path / "whole", model))
    _, *resumed = run(texts.job(root, tmp_path / "resumed", model), 2, 5)
    assert whole == resumed
    auto = transformers.AutoModelForSeq2SeqLM if model.architecture == "t5" else transformers.AutoModelForMaskedLM
    loaded = auto.from_pretrained(tmp_path / "whole" / "content" / "model", local_files_only=True).eval()
    ids = torch.arange(30, 50).reshape(2, 10)
    given = {"input_ids": ids, **({"decoder_input_ids": ids[:, :4]} if model.architecture == "t5" else {})}
    with torch.no_grad():
        assert torch.equal(loaded(**given).logits, trainer.loss_module.model.eval()(**given).logits)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "whole" / "content" / "model")
    assert loaded.config.pad_token_id == tokenizer.pad_token_id and tokenizer.mask_token == "[MASK]"
    assert model.architecture != "t5" or loaded.config.decoder_start_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize("mode", ["selective", "full"])
@pytest.mark.parametrize("model", [texts.BERT, texts.T5], ids=name)
def test_layers_of_both_halves_are_computed_again_to_the_same_bits(
    model: ModelConf, mode: str, root: Path, tmp_path: Path
) -> None:
    losses = []
    for which in ("none", mode):
        trainer = trainer_of(texts.job(root, tmp_path / which, model, run={"activation_checkpointing": which}))
        assert len(blocks(trainer.loss_module.model)) == 2
        losses.append([trainer.update().loss for _ in range(3)])
    assert losses[0] == losses[1]


def test_an_untied_t5_loads_with_equal_logits_too(root: Path, tmp_path: Path) -> None:
    job = texts.job(root, tmp_path, texts.T5.model_copy(update={"tie_embeddings": False}), tokens=1024)
    trainer, *_ = run(job)
    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(job.work.content / "model", local_files_only=True)
    given = {"input_ids": torch.arange(30, 40)[None], "decoder_input_ids": torch.arange(4)[None]}
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**given).logits, trainer.loss_module.model.eval()(**given).logits)


def test_roberta_gives_a_document_the_positions_that_it_has_alone(root: Path, tmp_path: Path) -> None:
    trainer = trainer_of(texts.job(root, tmp_path, texts.ROBERTA))
    ids = torch.arange(30, 42)[None]
    labels = torch.where(ids < 36, ids, IGNORE)
    with torch.no_grad():
        nats = trainer.loss_module.eval()(ids, torch.arange(12)[None], labels)[0]
        alone = trainer.loss_module.model(input_ids=ids, labels=labels).loss * 6
    assert torch.allclose(nats, alone)


@pytest.mark.parametrize("model", DENOISERS, ids=name)
def test_passes_of_any_size_add_up_to_one_pass_and_the_held_out_loss_stays(
    model: ModelConf, root: Path, tmp_path: Path
) -> None:
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = model.model_copy(
        update={"config": {**model.config, **({"dropout_rate": 0.0} if model.architecture == "t5" else quiet)}}
    )
    losses = []
    for size in (8, 3):
        job = texts.job(root, tmp_path / str(size), model, run={"micro_batch": size}, seed=1)
        trainer = trainer_of(job)
        before = trainer.evaluate()
        assert trainer.evaluate() == before
        losses.append([before, *(trainer.update().loss for _ in range(3))])
    assert np.allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize(
    ("model", "tokenizer", "words"),
    [(texts.BERT, {"mask_token": None}, "tokenizer.mask_token"), (texts.T5, {"sentinels": 0}, "tokenizer.sentinels=4")],
    ids=["bert", "t5"],
)
def test_a_tokenizer_that_cannot_hide_text_is_refused_before_the_first_step(
    model: ModelConf, tokenizer: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        trainer_of(texts.job(texts.write(tmp_path, **tokenizer), tmp_path / "work", model))


def test_a_context_that_is_shorter_than_a_sequence_is_refused_with_where_positions_begin(
    root: Path, tmp_path: Path
) -> None:
    short = texts.ROBERTA.model_copy(update={"config": {**texts.ENCODER, "max_position_embeddings": 65}})
    with pytest.raises(ConfigError, match=r"max_position_embeddings=65 .* seq_len=64, whose positions begin at 2"):
        trainer_of(texts.job(root, tmp_path, short))
