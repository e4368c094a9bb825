from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conf.compose import compose
from conf.schema.model import ModelConf, NetworkConf
from flows.data import Data
from flows.pretrain import train
from tasks.core.artifact import Artifact, Manifest, sha256
from tasks.core.errors import ArtifactError, ConfigError
from tasks.core.plan.keys import made_from
from tasks.core.plan.planner import Planner
from tasks.core.step import Call, interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir
from tasks.pretrain.pretrain_job import PretrainJob, folder_of
from tasks.pretrain.steps import pretrain
from tasks.pretrain.trainer import segment_export, warm_start
from tasks.pretrain.trainer.setup import make_trainer
from tasks.training.network import model
from tasks.training.network.device import set_up
from tasks.training.trainer.trainer import Trainer
from tests.tasks.pretrain import texts
from tests.tasks.pretrain.conftest import EOS, GPT2, LLAMA, NATIVE, VOCAB

MakeJob = Callable[..., PretrainJob]
DEEPER = ModelConf(architecture="llama", config={**LLAMA.config, "num_attention_heads": 4})
"""As LLAMA, but that the same weights compute something else."""


def trainer_of(job: PretrainJob) -> Trainer:
    return make_trainer(job, set_up(job.conf.run))


def left(trainer: Trainer, root: Path, *, state: bool = True) -> str:
    """What training would leave behind."""
    segment_export.write_model(trainer, Path(trainer_tokenizer(root)), root / "model")
    if state:
        record = {"loader": trainer.data.order.record(trainer.step), "tokens": 128, "steps": trainer.step}
        segment_export.write_state(trainer, root / "state", record)
    return str(root)


def trainer_tokenizer(root: Path) -> str:
    folder = root.parent / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}, "added_tokens": []}')
    return str(folder)


@pytest.mark.parametrize("conf", [LLAMA, GPT2, NATIVE, texts.BERT, texts.T5], ids=lambda conf: conf.kind)
def test_a_network_is_known_again_by_its_stored_config(conf: NetworkConf, tmp_path: Path) -> None:
    network = model.build(conf, VOCAB, EOS, 16, 0, 1)
    model.stored_as(network).config.save_pretrained(tmp_path / "model")
    warm_start.refuse_other_network(network, tmp_path, "main")


def test_another_network_with_weights_of_the_same_shapes_is_refused(tmp_path: Path) -> None:
    model.build(LLAMA, VOCAB, EOS, 16, 0).config.save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"segments.next.start: .*num_attention_heads 2 and here 4"):
        warm_start.refuse_other_network(model.build(DEEPER, VOCAB, EOS, 16, 0), tmp_path, "next")


def test_weights_alone_are_a_start_with_new_moments_and_new_data(make_job: MakeJob, tmp_path: Path) -> None:
    before = trainer_of(make_job())
    before.update()
    after = trainer_of(make_job("after", start=left(before, tmp_path / "weights", state=False)))
    assert all(torch.equal(after.named[name], value) for name, value in before.named.items())
    moments = after.optimizer.moments(after.named)
    assert moments and not any(value.any() for value in moments.values())
    assert after.data.order.start == (0,) * len(after.data.order.start)
    whole = trainer_of(make_job("whole", start=left(before, tmp_path / "whole")))
    assert any(value.any() for value in whole.optimizer.moments(whole.named).values())
    assert sum(whole.data.order.start) > 0


def test_another_optimizer_begins_anew(make_job: MakeJob, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = trainer_of(make_job(optimizer={"kind": "sgd", "momentum": 0.0}))
    after = trainer_of(make_job("after", start=left(before, tmp_path / "sgd")))
    assert not any(value.any() for value in after.optimizer.moments(after.named).values())
    assert "the optimizer begins anew" in capfd.readouterr().out


def test_another_tokenizer_is_refused_before_training(make_job: MakeJob, tmp_path: Path, shards: Path) -> None:
    left(trainer_of(make_job()), tmp_path / "content", state=False)
    start = Artifact("pretrain", "k", "d", part_name="model", root=tmp_path)
    assert folder_of(start) == tmp_path / "content" == folder_of(Artifact("p", "k", "d", root=tmp_path))
    tokens = Artifact("tokenize_shard", "k", "d", shard="news-000", root=tmp_path / "tokens")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "content").symlink_to(shards / "news-000")
    (tmp_path / "other" / "content").mkdir(parents=True)
    tokenizer = Artifact("train_tokenizer", "k", "d", root=tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"tokenizer.json cannot be read"):
        pretrain.function((tokens,), tokenizer, start, make_job().conf, Workdir(tmp_path / "work"))
    (tokenizer / "tokenizer.json").write_text('{"model": {"vocab": {"b": 0}}, "added_tokens": []}')
    with pytest.raises(ConfigError, match="was trained with another tokenizer"):
        pretrain.function((tokens,), tokenizer, start, make_job().conf, Workdir(tmp_path / "work"))


def test_the_key_holds_what_a_start_means_and_the_plan_says_that_it_changed(home: Path) -> None:
    store = Store(LocalBackend(home / "store"))

    def made(step: str, key: str, parts: dict[str, object]) -> Artifact:
        work = Workdir(home / "making")
        work.make()
        (work / "model/weights").write_text(key)
        (work / "state/state.json").write_text("{}")
        return Artifact.of(store.publish(work, Manifest(step, key, parts, "", "", (), {"vocab_size": 64}, (), {})))

    one, two = (
        made("pretrain", digit * 64, {"conf": {}, "code": {}, "inputs": [digit], "format": 0}) for digit in "12"
    )
    tokenizer, tokens = made("train_tokenizer", "3" * 64, {}), (made("tokenize_shard", "4" * 64, {}),)
    data = Data((), None, "demo", None, tokenizer=tokenizer, tokens=tokens)

    def planned(start: Artifact | None, *more: str) -> tuple[str | None, str, Call]:
        given = f"pretrain.segments.main.start=store:pretrain/{start.key}" if start else "pretrain.optimizer.clip=1"
        recipe = compose("demo", (given, *more))
        planner = Planner(store)
        with interpreted_by(planner):
            train(recipe, data)
        (conf,) = recipe.pretrain.chain(recipe.model)
        return planner.rows[0].key, planner.rows[0].reason, Call(pretrain, (data.tokens, data.tokenizer, start), conf)

    key, _, call = planned(one)
    assert key == sha256(made_from(call)) != planned(None)[0]
    made("pretrain", str(key), made_from(call))
    assert planned(two)[1] == "other input (start)"


@pytest.mark.parametrize(
    "start", ["models:text-base@champion", "models:/text-base", "store:pretrain", "text-base@champion"]
)
def test_a_start_that_is_no_reference_is_refused(start: str) -> None:
    with pytest.raises(ConfigError, match=r"start=.* must be models:/NAME@ALIAS"):
        compose("demo", (f"pretrain.segments.main.start={start}",))


def test_only_the_first_segment_starts_elsewhere() -> None:
    with pytest.raises(ConfigError, match="only the first segment, main, starts elsewhere"):
        compose("demo", ("pretrain.segments.more={tokens: 9, start: models:/demo-base@champion}",))
