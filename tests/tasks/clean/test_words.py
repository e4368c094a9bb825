import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.clean import words as words_module
from tasks.clean.words import collapse, longest, ngrams, plain_spaces, repeats, word_bytes, word_hashes

TEXTS = st.lists(st.text(st.sampled_from("ab é 中\n\t\u2003\u00a0"), max_size=20), max_size=8)


def hashes_of(text: str) -> list[int]:
    return word_hashes(pl.Series([text], dtype=pl.String)).values.tolist()


@given(TEXTS, st.sampled_from([1, 5, words_module._BLOCK]))
def test_words_are_hashed_as_if_each_text_stood_alone(texts: list[str], block: int) -> None:
    series = collapse(pl.Series("text", texts, dtype=pl.String))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words_module, "_BLOCK", block)
        runs = word_hashes(plain_spaces(pl.Series("text", texts, dtype=pl.String)))
    alone = {word: hashes_of(word)[0] for text in series for word in text.split()}
    for n, text in enumerate(series):
        assert runs.values[runs.starts[n] : runs.starts[n + 1]].tolist() == [alone[word] for word in text.split()]
    assert len(set(alone.values())) == len(alone)


def test_hashes_never_change_between_versions() -> None:
    assert hashes_of("Parameters") == [17910510732231081575]


def test_a_shorter_text_has_one_ngram_and_an_empty_one_none() -> None:
    runs = ngrams(word_hashes(pl.Series(["a b c d", "a b", "", "a b c", "b c d"])), 3)
    assert runs.lengths.tolist() == [2, 1, 0, 1, 1]
    first, second, short, same, last = runs.values.tolist()
    assert first == same and second == last and short not in (first, second)


@given(TEXTS)
def test_ngrams_are_equal_when_their_words_are(texts: list[str]) -> None:
    series = collapse(pl.Series("text", texts, dtype=pl.String))
    runs = ngrams(word_hashes(series), 2)
    words = [text.split() for text in series]
    grams = [" ".join(w[i : i + 2]) for w in words for i in range(max(len(w) - 1, min(len(w), 1)))]
    assert len(set(grams)) == len(set(runs.values.tolist()))
    assert len(grams) == len(runs.values)


@given(TEXTS)
def test_repeats_counts_words_that_came_before(texts: list[str]) -> None:
    series = collapse(pl.Series("text", texts, dtype=pl.String))
    words = [text.split() for text in series]
    assert repeats(word_hashes(series)).tolist() == [len(w) - len(set(w)) for w in words]


def test_longest_is_in_bytes() -> None:
    assert np.array_equal(longest(word_hashes(pl.Series(["a bcd ef", "", "é"]))), [3, 0, 2])


def test_bytes_of_words_leave_the_white_space_out() -> None:
    assert word_bytes(word_hashes(pl.Series(["a  bcd\n", "", " ", "é"]))).tolist() == [4, 0, 0, 2]
