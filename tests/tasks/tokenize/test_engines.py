from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.tokenize import TokenizerConf, TokenizerRun
from tasks.core.errors import HostError
from tasks.tokenize import engines as engines_module
from tasks.tokenize.engines import Differs, Gigatoken, Tokenizers, engines
from tasks.tokenize.shards import PARTS, load, write_shard
from tasks.tokenize.train import train_tokenizer

CONF = TokenizerConf(vocab_size=600)
ODD = ["", "<|endoftext|>", "a<|user|>b", "caf\u00e9 \U0001f600\n", "\x00 ", " \t\n", "\u0378 \U00016ea0x", "x\r\n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write, docstrings) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([write(folder / "docs/docs.parquet", docstrings)], folder.__truediv__, CONF, folder)
    return folder


@pytest.fixture(scope="module")
def both(folder: Path) -> tuple[Tokenizers, Gigatoken]:
    model, _ = load(folder, CONF)
    return Tokenizers(model), Gigatoken(model)


def written(docs: Path, folder: Path, conf: TokenizerConf) -> tuple[dict[str, object], list[bytes]]:
    for part in PARTS:
        (docs / conf.run.engine / part).mkdir(parents=True, exist_ok=True)
    stats = write_shard(docs, folder, (docs / conf.run.engine).__truediv__, conf)
    return stats, [(docs / conf.run.engine / part / "tokens.bin").read_bytes() for part in PARTS]


def of_engine(engine: str) -> TokenizerConf:
    return TokenizerConf(vocab_size=600, run=TokenizerRun(engine=engine))


@given(texts=st.lists(st.one_of(st.text(max_size=30), st.sampled_from(ODD)), max_size=6))
def test_both_engines_give_the_same_ids(both: tuple[Tokenizers, Gigatoken], texts: list[str]) -> None:
    slow, fast = (engine.encode(texts) for engine in both)
    assert np.array_equal(slow[0], fast[0]) and np.array_equal(slow[1], fast[1])
    assert slow[0].dtype == fast[0].dtype and slow[1].dtype == fast[1].dtype


def test_real_texts_give_the_same_shard_whatever_the_engine(tmp_path: Path, write, docstrings, folder: Path) -> None:
    for part, texts in zip(PARTS, ([*ODD, *docstrings], docstrings[:3]), strict=True):
        write(tmp_path / part / "docs.parquet", texts)
    stats, wanted = written(tmp_path, folder, of_engine("tokenizers"))
    assert stats["engine"] == "tokenizers"
    for engine in ("gigatoken", "auto"):
        stats, found = written(tmp_path, folder, of_engine(engine))
        assert (stats["engine"], found) == ("gigatoken", wanted)


def test_an_engine_with_other_ids_is_found_out_and_the_shard_written_by_tokenizers(
    tmp_path: Path, write, docstrings, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(Gigatoken):
        def __init__(self, tokenizer: object) -> None:
            super().__init__(tokenizer)
            other = tmp_path / "other"
            train_tokenizer(
                [write(other / "docs/docs.parquet", ["entirely different"] * 9)], other.__truediv__, CONF, other
            )
            self.fast = Gigatoken(load(other, CONF)[0]).fast

    for part in PARTS:
        write(tmp_path / part / "docs.parquet", docstrings)
    _, wanted = written(tmp_path, folder, of_engine("tokenizers"))
    with pytest.raises(Differs, match="other ids than tokenizers"):
        Wrong(load(folder, CONF)[0]).encode(docstrings)
    monkeypatch.setattr(engines_module, "Gigatoken", Wrong)
    stats, found = written(tmp_path, folder, of_engine("auto"))
    assert (stats["engine"], found) == ("tokenizers", wanted)
    assert "other ids than tokenizers" in capsys.readouterr().out


def test_later_documents_are_compared_too(both: tuple[Tokenizers, Gigatoken]) -> None:
    slow, _ = both
    engine = Gigatoken(slow.tokenizer)
    engine.encode(["fine"] * 40)
    right = engine.fast

    class Late:
        def encode_batch(self, texts: list[str], parallel: bool) -> object:
            return right.encode_batch(["other", *texts[1:]], parallel=parallel)

    engine.fast = Late()
    with pytest.raises(Differs):
        for _ in range(2):
            engine.encode(["one", "two"])


def test_an_engine_that_is_not_installed_is_refused_only_when_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = load(folder, CONF)
    monkeypatch.setattr(engines_module, "find_spec", lambda name: None)
    with pytest.raises(HostError, match="pip install gigatoken"):
        engines(model, of_engine("gigatoken"))
    assert [engine.name for engine in engines(model, CONF)] == ["tokenizers"]


def test_other_kinds_are_written_by_tokenizers_and_gigatoken_is_refused_for_them(folder: Path) -> None:
    model, _ = load(folder, CONF)
    assert [engine.name for engine in engines(model, TokenizerConf(kind="unigram"))] == ["tokenizers"]
    with pytest.raises(ValueError, match=r"cannot write tokenizer\.kind=unigram"):
        TokenizerConf(kind="unigram", run=TokenizerRun(engine="gigatoken"))
