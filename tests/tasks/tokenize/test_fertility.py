from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tokenizers import Tokenizer

from conf.schema.tokenize import TokenizerConf
from tasks.tokenize.fertility import gpt2, measure
from tasks.tokenize.train import train


@pytest.fixture(scope="module")
def fast(tmp_path_factory, write, docstrings) -> Tokenizer:
    folder = tmp_path_factory.mktemp("docs")
    return train([write(folder / "a.parquet", docstrings[:200])], TokenizerConf(vocab_size=600), folder)[0]


def test_fertility_is_measured_for_each_source(tmp_path: Path, write, docstrings, fast: Tokenizer) -> None:
    docs = [write(tmp_path / "a.parquet", docstrings), write(tmp_path / "b.parquet", ["zz " * 50] * 3, source="odd")]
    measured = measure(fast, docs)
    assert set(measured) == {"sources"}, "there is no language in these tables"
    found = measured["sources"]
    assert set(found) == {"docs", "odd"}
    assert found["docs"]["bytes_per_token"] > found["odd"]["bytes_per_token"] >= 1
    assert found["docs"]["tokens_per_word"] > 1
    assert found["docs"]["exact"] == found["odd"]["exact"] == 1


def test_where_the_documents_say_their_language_fertility_is_measured_for_each(
    tmp_path: Path, write, fast: Tokenizer
) -> None:
    path = write(tmp_path / "a.parquet", ["the array", "the shape", "\u4e2d\u6587", "?"])
    pl.read_parquet(path).with_columns(pl.Series("lang", ["en", "en", "zh", None])).write_parquet(path)
    measured = measure(fast, [path])
    assert set(measured["sources"]) == set(measured["languages"]) == {"docs"}
    found = measured["languages"]["docs"]
    assert list(found) == ["en", "zh"]
    assert found["zh"]["tokens_per_word"] > found["en"]["tokens_per_word"] >= 1


def test_gpt2_stands_beside_where_it_is_in_the_cache(
    tmp_path: Path, write, docstrings, fast: Tokenizer, monkeypatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    docs = [write(tmp_path / "a.parquet", docstrings[:20])]
    assert gpt2() is None and "gpt2" not in measure(fast, docs)["sources"]["docs"]
    commit = tmp_path / "models--gpt2/snapshots/abc"
    commit.mkdir(parents=True)
    (commit.parents[1] / "refs").mkdir()
    (commit.parents[1] / "refs/main").write_text("abc")
    fast.save(str(commit / "tokenizer.json"))
    row = measure(fast, docs)["sources"]["docs"]
    assert row["gpt2"] == {name: row[name] for name in ("bytes_per_token", "tokens_per_word")}
