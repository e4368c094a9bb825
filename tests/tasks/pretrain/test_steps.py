from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from conf.schema.pretrain import PretrainConf
from tasks.core.artifact import Artifact, hash_file
from tasks.core.errors import ConfigError, DataError
from tasks.core.workdir import Workdir
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.steps import foretell, pretrain


def run(
    conf: PretrainConf, shards: Path, root: Path, start: Workdir | None = None
) -> tuple[Workdir, dict[str, object]]:
    def artifact(folder: Path, shard: str | None = None) -> Artifact:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "content").exists():
            (folder / "content").symlink_to(shards / (shard or "tokenizer"))
        return Artifact("step", "key", "digest", shard=shard, root=folder)

    tokens = tuple(artifact(root / "in" / name, name) for name in ("news-000", "talk-000"))
    work = Workdir(root / "work")
    work.make()
    before = Artifact("pretrain", "key", "digest", root=start.root) if start else None
    return work, pretrain.function(tokens, artifact(root / "in" / "tokenizer"), before, conf, work)


def digests(work: Workdir) -> dict[str, str]:
    files = sorted(path for path in work.content.rglob("*") if path.is_file())
    return {str(path.relative_to(work.content)): hash_file(path) for path in files}


def test_a_segment_has_equal_digests_anywhere_and_the_next_one_goes_on_from_it(
    make_job: Callable[..., PretrainJob], shards: Path, tmp_path: Path
) -> None:
    conf = make_job().conf
    first, stats = run(conf, shards, tmp_path / "a")
    second, _ = run(conf, shards, tmp_path / "another place")
    assert digests(first) == digests(second)
    assert {"model/config.json", "model/model.safetensors", "model/tokenizer.json", "state/state.json"} <= set(
        digests(first)
    )
    assert set(stats) >= {"tokens", "steps", "parameters", "loss", "valid_loss", "tokens_per_second", "metrics"}
    assert (first.aux / "metrics.jsonl").read_text().count("\n") == 20

    third, more = run(conf, shards, tmp_path / "next", start=first)
    state = [json.loads((work.content / "state" / "state.json").read_text()) for work in (first, third)]
    assert state[1]["tokens"] == 2 * state[0]["tokens"]
    assert state[1]["loader"]["taken"]["all"] == 2 * state[0]["loader"]["taken"]["all"]
    assert float(str(more["valid_loss"])) < float(str(stats["valid_loss"]))

    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(third.content / "model")
    assert sum(parameter.numel() for parameter in loaded.parameters()) == more["parameters"]


def test_no_shards_at_all_is_a_data_error(make_job: Callable[..., PretrainJob], tmp_path: Path) -> None:
    tokenizer = Artifact("train_tokenizer", "key", "digest", root=tmp_path)
    with pytest.raises(DataError, match="no shards"):
        pretrain.function((), tokenizer, None, make_job().conf, Workdir(tmp_path))


def test_the_plan_refuses_attention_that_the_network_cannot_have(make_job: Callable[..., PretrainJob]) -> None:
    conf, tokenizer = make_job().conf, SimpleNamespace(stats={})
    assert set(foretell((), tokenizer, None, conf)) == {"tokens"}
    conf = conf.model_copy(update={"run": conf.run.model_copy(update={"attention": "varlen"})})
    masked = conf.model.model_copy(update={"architecture": "bert"})
    with pytest.raises(ConfigError, match=r"set pretrain\.run\.attention=auto"):
        foretell((), tokenizer, None, conf.model_copy(update={"model": masked}))
