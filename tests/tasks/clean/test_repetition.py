from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.clean.repetition import duplicate_share, top_share
from tasks.text.words import Runs, collapse, word_hashes

TEXTS = st.lists(st.lists(st.sampled_from(["a", "bb", "ccc", "\u00e9", "f"]), max_size=30).map(" ".join), max_size=8)


def hashed(*texts: str) -> Runs:
    return word_hashes(collapse(pl.Series(texts, dtype=pl.String)))


def top_by_hand(text: str, size: int) -> float:
    words = text.split()
    grams = Counter(" ".join(words[n : n + size]) + " " for n in range(len(words) - size + 1))
    gram, count = grams.most_common(1)[0] if grams else ("", 0)
    return min(1.0, len(gram.encode()) * count / len((text + " ").encode())) if count > 1 else 0.0


def duplicates_by_hand(text: str, size: int) -> float:
    words, seen, covered = text.split(), set(), set()
    for n in range(len(words) - size + 1):
        gram = tuple(words[n : n + size])
        covered |= set(range(n, n + size)) if gram in seen else set()
        seen.add(gram)
    return sum(len(words[n].encode()) + 1 for n in covered) / len((text + " ").encode())


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, size=st.integers(1, 10))
def test_the_shares_are_those_that_are_counted_by_hand(texts: list[str], size: int) -> None:
    words = hashed(*texts)
    assert top_share(words, size).tolist() == pytest.approx([top_by_hand(text, size) for text in texts])
    assert duplicate_share(words, size).tolist() == pytest.approx([duplicates_by_hand(text, size) for text in texts])


def test_a_word_that_two_repeated_ngrams_have_in_common_counts_once() -> None:
    assert duplicate_share(hashed("a b c a b c"), 2).tolist() == [0.5]


def test_what_occurs_once_is_no_top_ngram() -> None:
    assert top_share(hashed("one two", "one", ""), 2).tolist() == [0, 0, 0]


def test_of_ngrams_that_occur_as_often_the_first_is_measured() -> None:
    assert top_share(hashed("a bbb a bbb"), 1).tolist() == [4 / 12]


def test_no_document_has_no_share() -> None:
    assert len(top_share(hashed(), 2)) == len(duplicate_share(hashed(), 5)) == 0


def test_a_long_document_among_short_ones_leaves_them_as_they_are() -> None:
    texts = ["a b a b", " ".join(map(str, range(5000))), "a b a b"]
    assert np.allclose(top_share(hashed(*texts), 2), [1, 0, 1])
    assert np.allclose(duplicate_share(hashed(*texts), 2), [0.5, 0, 0.5])


def test_a_thai_text_that_says_little_twice_repeats_as_little_as_its_words() -> None:
    """Ten words of Thai are some 36 letters: by 16, as in Chinese, a turn of speech would count as a repetition."""
    text = "ประเทศไทยมีภูเขาสูงอยู่ทางทิศเหนือ และประเทศไทยมีแม่น้ำอยู่ทางทิศตะวันออก"
    assert duplicate_share(word_hashes(pl.Series([text, text * 2])), 10).tolist() == [0.0, 0.5]
