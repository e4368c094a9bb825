from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.tokenize import TokenizerConf, TokenizerRun
from tasks.tokenize import kinds, merges
from tasks.tokenize.engines import Differs
from tasks.tokenize.train import train_tokenizer

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
ODD = [
    "a<|user|>b<|endoftext|>",
    "caf\u00e9 \U0001f600\n",
    " \t\n  x",
    "x\r\n\r\n",
    "",
    "aaaa aaaaaa",
    "\u4f60\u597d",
    "\x85\xa0",
]


@pytest.mark.parametrize(("size", "least"), [(400, 2), (2000, 2), (600, 9)])
def test_both_engines_learn_the_same_tokenizer_to_the_byte(
    tmp_path: Path, write, docstrings, size: int, least: int
) -> None:
    docs = write(tmp_path / "docs.parquet", [*ODD, *docstrings])
    made = {}
    for engine in ("tokenizers", "gigatoken"):
        (out := tmp_path / engine).mkdir()
        conf = TokenizerConf(vocab_size=size, min_frequency=least, run=TokenizerRun(engine=engine))
        stats = train_tokenizer([docs], out.__truediv__, conf, tmp_path)
        assert stats["engine"] == engine
        made[engine] = [(out / name).read_bytes() for name in FILES]
    assert made["gigatoken"] == made["tokenizers"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs.parquet", "gigatoken", "tokenizers"]


@given(st.lists(st.lists(st.sampled_from(["ab", "abc", " b", "\u00e9", "1", "\n", "aa "]), max_size=12), max_size=8))
def test_what_is_learned_is_the_same_or_refused(tmp_path_factory, pieces: list[list[str]]) -> None:
    texts = ["".join(words) for words in pieces]
    conf = TokenizerConf(vocab_size=300)
    try:
        found = merges.train(lambda: iter([texts]), conf, tmp_path_factory.mktemp("scratch"))
    except Differs:
        return
    assert found.to_str() == kinds.train(lambda: iter([texts]), conf).to_str()


@pytest.mark.parametrize(
    ("texts", "size", "why"),
    [
        (["so short"], 400, "learned .* tokens where 400 are asked for"),
        (["NUL \0 in it"], 300, "may cut 'NUL"),
        (["not yet a character: \u0378"], 300, "may cut 'not yet"),
    ],
)
def test_what_is_not_certain_to_be_the_same_is_left_to_tokenizers(
    tmp_path: Path, write, capsys: pytest.CaptureFixture[str], texts: list[str], size: int, why: str
) -> None:
    conf = TokenizerConf(vocab_size=size)
    with pytest.raises(Differs, match=why):
        merges.train(lambda: iter([texts]), conf, tmp_path)
    stats = train_tokenizer([write(tmp_path / "docs.parquet", texts)], tmp_path.__truediv__, conf, tmp_path)
    assert stats["engine"] == "tokenizers" and "tokenizers learns the merges" in capsys.readouterr().out


def test_pairs_that_are_too_rare_are_left_to_tokenizers(tmp_path: Path) -> None:
    draw = random.Random(0)
    texts = [" ".join("".join(draw.choices("abcdefghij", k=6)) for _ in range(60)) for _ in range(3)]
    for least, refused in ((1, False), (30, True)):
        conf = TokenizerConf(vocab_size=340, min_frequency=least)
        if refused:
            with pytest.raises(Differs, match=f"less than min_frequency={least}"):
                merges.train(lambda: iter([texts]), conf, tmp_path)
        else:
            assert merges.train(lambda: iter([texts]), conf, tmp_path).get_vocab_size() == 340


def test_an_engine_that_learns_otherwise_is_found_out(
    tmp_path: Path, docstrings, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = merges._learn
    monkeypatch.setattr(merges, "_learn", lambda file, count: right(file, count)[::-1])
    with pytest.raises(Differs, match="other merges than tokenizers from the first texts"):
        merges.train(lambda: iter([docstrings]), TokenizerConf(vocab_size=600), tmp_path)
