from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from conf.schema.model import ModelConf, NoiseConf
from tasks.core.errors import ConfigError, DataError
from tasks.pretrain.data import vocabulary
from tasks.pretrain.data.objective import LONGEST, word_starts
from tests.tasks.pretrain import texts

TEXT = "A well-known (but long) statement: see section 3.7.\n  Next line, naïve 東京都の人口と面積について"


def words(folder: Path) -> tuple[list[str], vocabulary.Vocabulary]:
    """The words of TEXT, as the noise takes them."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    known = vocabulary.read(folder, tokenizer.get_vocab_size(), 0)
    ids = np.array([tokenizer.encode(TEXT).ids])
    starts = np.flatnonzero(word_starts(ids, np.arange(ids.size)[None], known)[0])
    pieces = np.split(ids[0], starts[1:])
    return [tokenizer.decode(piece.tolist()) for piece in pieces], known


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_words_on_bytes_begin_with_white_space_and_signs_are_words_by_themselves(kind: str, tmp_path: Path) -> None:
    found, known = words(texts.write(tmp_path, kind=kind) / "tokenizer")
    latin = found[: next(n for n, word in enumerate(found) if "na" in word) + 1]
    assert [word.strip() for word in latin if word.strip()] == [
        *("A", "well", "-", "known", "(", "but", "long", ")", "statement", ":", "see", "section"),
        *("3", ".", "7", ".", "Next", "line", ",", "naïve"),
    ]
    assert [int(token) for token in known.sentinels] == list(range(6, 22)) and known.mask == 5 and known.pad == 1
    assert known.special.sum() == 22 and len(known.ordinary) == 400 - 22


def test_a_run_without_spaces_is_many_words(tmp_path: Path) -> None:
    folder = texts.write(tmp_path) / "tokenizer"
    known = vocabulary.read(folder, 400, 0)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = np.array([tokenizer.encode("東京都の人口と面積について").ids])
    starts = np.flatnonzero(word_starts(ids, np.arange(ids.size)[None], known)[0])
    assert ids.size > 2 * LONGEST and (np.diff([*starts, ids.size]) <= LONGEST).all()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_bytes_of_a_texts_tokens_add_up_to_its_own(kind: str, tmp_path: Path) -> None:
    folder = texts.write(tmp_path, kind=kind, extra_tokens=["<tool>"]) / "tokenizer"
    lengths = vocabulary.byte_lengths(folder, 400)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert lengths is not None and not lengths[[0, 5]].any(), "special tokens are no text"
    assert lengths[tokenizer.encode(TEXT).ids].sum() == len(TEXT.encode())


def test_bytes_are_unknown_where_a_tokenizer_does_not_work_on_them(tmp_path: Path) -> None:
    assert vocabulary.byte_lengths(texts.write(tmp_path, kind="wordpiece") / "tokenizer", 400) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    assert vocabulary.byte_lengths(tmp_path, 400) is None


def test_a_word_of_wordpiece_is_a_token_with_those_that_continue_it(tmp_path: Path) -> None:
    found, known = words(texts.write(tmp_path, kind="wordpiece") / "tokenizer")
    assert found[:9] == ["a", "well", "-", "known", "(", "but", "long", ")", "statement"]
    assert known.special[known.mask] and known.special.sum() == 23


@pytest.mark.parametrize(
    ("tokenizer", "model", "words"),
    [
        ({"mask_token": None}, texts.BERT, r"bert needs: set .tokenizer\.mask_token='\[MASK\]'. .*--refresh"),
        ({"sentinels": 3}, texts.T5, r"has 3 tokens .*t5 needs 4: set tokenizer\.sentinels=4"),
    ],
)
def test_a_tokenizer_without_the_tokens_that_hide_text_is_refused_with_the_option_to_set(
    tokenizer: dict[str, object], model: ModelConf, words: str, tmp_path: Path
) -> None:
    known = vocabulary.read(texts.write(tmp_path, **tokenizer) / "tokenizer", 400, 0)
    with pytest.raises(ConfigError, match=words):
        known.check(model, 64)
    known.check(ModelConf(), 64)
    known.check(model.model_copy(update={"objective": "causal"}), 64)


def test_files_that_are_no_tokenizers_are_a_data_error(tmp_path: Path) -> None:
    folder = texts.write(tmp_path) / "tokenizer"
    with pytest.raises(DataError, match="no tokenizer of 300 tokens"):
        vocabulary.read(folder, 300, 0)
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps({"model": {}}))
    with pytest.raises(DataError, match="no tokenizer of 400 tokens"):
        vocabulary.read(tmp_path / "other", 400, 0)


def test_no_document_has_more_hidden_spans_than_are_foretold() -> None:
    for share, span, seq_len in ((0.15, 3.0, 512), (0.5, 1.0, 8), (0.01, 10.0, 2)):
        hidden = int(seq_len * share) + 1
        assert max(1, round(hidden / span)) <= NoiseConf(share=share, span=span).most_spans(seq_len)
