import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.tokenize import TokenizerConf
from tasks.core.errors import ArtifactError, DataError
from tasks.formats.tokens import TokenFile, dtype_for
from tasks.tokenize.shards import load, write_part, write_shard
from tasks.tokenize.train import train_tokenizer

CONF = TokenizerConf(vocab_size=600)
ODD = ["", "<|endoftext|>", "a<|user|>b", "caf\u00e9 \U0001f600\n", "\x00 ", "  spaces\t\n", "<|pad|><|pad|>"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory, write, docstrings) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([write(folder / "docs/docs.parquet", docstrings)], folder.__truediv__, CONF, folder)
    return folder


def test_reading_back_decodes_to_the_exact_texts(tmp_path: Path, write, docstrings, tokenizer: Path) -> None:
    texts = {"train": [*ODD, *docstrings], "valid": docstrings[:3]}
    for part, these in texts.items():
        write(tmp_path / part / "docs.parquet", these)
    out = tmp_path / "out"
    stats = write_shard(tmp_path, tokenizer, lambda name: _made(out / name), CONF)
    model, eos = load(tokenizer, CONF)
    for part, these in texts.items():
        shard = TokenFile.open(out / part)
        assert [model.decode(shard[n].tolist(), skip_special_tokens=False) for n in range(len(shard))] == these
        assert (shard.tokens[shard.index[1:] - 1] == eos).all()
        assert (shard.tokens == eos).sum() == len(these), "a document's own text must never give an eos"
        meta = json.loads((out / part / "meta.json").read_text())
        assert meta == stats["parts"][part]
        assert meta == {
            "dtype": "uint16",
            "vocab_size": 600,
            "eos_id": eos,
            "documents": len(these),
            "tokens": len(shard.tokens),
            "bytes": sum(len(text.encode()) for text in these),
        }
    assert stats["tokens"] == sum(part["tokens"] for part in stats["parts"].values())


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_survives(tmp_path_factory, write, tokenizer: Path, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("shard")
    model, eos = load(tokenizer, CONF)
    write_part(write(folder / "docs.parquet", texts), folder, model, eos)
    shard = TokenFile.open(folder)
    assert [model.decode(shard[n].tolist(), skip_special_tokens=False) for n in range(len(shard))] == texts


def test_the_files_are_plain_little_endian_and_int64(tmp_path: Path, write, tokenizer: Path) -> None:
    model, eos = load(tokenizer, CONF)
    write_part(write(tmp_path / "docs.parquet", ["one two", "three"]), tmp_path, model, eos)
    flat = np.fromfile(tmp_path / "tokens.bin", "<u2")
    index = np.load(tmp_path / "index.npy")
    assert index.dtype == np.int64 and index[0] == 0 and index[-1] == len(flat)
    assert model.decode(flat[: index[1] - 1].tolist()) == "one two"


def test_ids_are_as_wide_as_the_vocabulary_needs() -> None:
    assert dtype_for(1 << 16) == np.dtype("<u2")
    assert dtype_for((1 << 16) + 1) == np.dtype("<u4")


def test_a_truncated_file_is_not_opened(tmp_path: Path, write, docstrings, tokenizer: Path) -> None:
    model, eos = load(tokenizer, CONF)
    write_part(write(tmp_path / "docs.parquet", docstrings[:5]), tmp_path, model, eos)
    data = (tmp_path / "tokens.bin").read_bytes()
    (tmp_path / "tokens.bin").write_bytes(data[:-2])
    with pytest.raises(ArtifactError, match=r"tokens\.bin does not fit"):
        TokenFile.open(tmp_path, ArtifactError)


def test_documents_are_counted_from_0_to_the_last(tmp_path: Path, write, tokenizer: Path) -> None:
    model, eos = load(tokenizer, CONF)
    write_part(write(tmp_path / "docs.parquet", ["one"]), tmp_path, model, eos)
    shard = TokenFile.open(tmp_path)
    assert len(shard) == 1
    for outside in (-1, 1):
        with pytest.raises(IndexError):
            shard[outside]


def test_a_tokenizer_without_the_eos_token_is_refused(tokenizer: Path) -> None:
    with pytest.raises(ArtifactError, match="no token '</s>'"):
        load(tokenizer, TokenizerConf(vocab_size=600, eos_token="</s>"))


def test_a_table_without_text_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    import polars as pl

    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "docs.parquet")
    model, eos = load(tokenizer, CONF)
    with pytest.raises(DataError, match="no column source, text"):
        write_part(tmp_path / "docs.parquet", tmp_path, model, eos)


def test_ids_above_65535_are_written_wide_and_read_back(tmp_path: Path, write, tokenizer: Path) -> None:
    model, eos = load(tokenizer, CONF)
    # Tokens of a character of its own each, so that the vocabulary is large without a large text to train on.
    model.add_tokens([chr(0x4E00 + n // 100) + str(n) for n in range(1 << 16)])
    texts = ["one \u4e00" + "0 two", "", chr(0x4E00 + 655) + "65535", "end"]
    meta = write_part(write(tmp_path / "docs.parquet", texts), tmp_path, model, eos)
    shard = TokenFile.open(tmp_path)
    assert (meta["dtype"], meta["vocab_size"]) == ("uint32", 600 + (1 << 16))
    assert shard.tokens.dtype == np.dtype("<u4") and shard[2].tolist() == [600 + 65535]
    assert [model.decode(shard[n].tolist(), skip_special_tokens=False) for n in range(len(shard))] == texts
    assert shard.index.tolist() == np.cumsum([0, *(len(shard[n]) + 1 for n in range(len(shard)))]).tolist()
    assert np.array_equal(np.fromfile(tmp_path / "tokens.bin", "<u4"), shard.tokens), "the loader reads the same ids"
