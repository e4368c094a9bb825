"""Spans as tags and back, a dictionary of them, and their F1."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from tasks.models.token_classification.span_options import SpanEval
from tasks.models.token_classification.spans import SPAN_F1, Dictionary, compared, measure
from tasks.models.token_classification.tagging import spans_of, tags_of, windows
from tasks.text.encode import Encoder

WORDS = st.lists(
    st.tuples(st.sampled_from(["a", "bc", "\u4e2d\u6587", "d-e"]), st.sampled_from(["", "B-X", "I-X", "B-Y"]))
)


@given(WORDS, st.booleans())
def test_spans_of_whole_tokens_are_their_tags_and_the_tags_the_spans(
    words: list[tuple[str, str]], with_space: bool
) -> None:
    text, places, spans, last = "", [], [], ""
    for word, tag in words:
        begin = len(text) + 1
        places.append((begin - with_space, begin + len(word)))  # a token of a byte-level tokenizer has its space too
        text += f" {word}"
        if tag == "I-X" and last == "X":
            spans[-1] = (spans[-1][0], len(text), "X")
        elif tag:
            spans.append((begin, len(text), tag[2:]))
        last = tag[2:]
    tags = tags_of(spans, places, text)
    assert spans_of(tags, places, text) == spans
    assert [tag == "O" for tag in tags] == [not tag for _, tag in words]


def test_a_span_that_ends_within_a_token_takes_all_of_it() -> None:
    assert tags_of([(0, 3, "X")], [(0, 5), (5, 6)], "abcde.") == ["B-X", "O"]


def test_a_blank_within_a_span_is_of_it() -> None:
    places = [(0, 1), (1, 2), (2, 3)]
    assert tags_of([(0, 3, "X")], places, "a b") == ["B-X", "I-X", "I-X"]
    assert spans_of(["O", "I-X", "I-X"], places, "a b") == [(2, 3, "X")]


def test_the_places_of_tokens_are_those_of_the_text_also_where_a_control_token_s_name_is_in_it(model_dir: Path) -> None:
    encoder = Encoder.load(model_dir)
    texts = ["array axis", "array <|end|> axis <|user|>", "\ufdd0 <|end|>"]
    for text, (ids, places) in zip(texts, encoder.placed(texts), strict=True):
        assert [ids] == encoder.texts([text])
        # the bytes of one letter are tokens of one place
        assert len(ids) == len(places) and "".join(text[begin:end] for begin, end in dict.fromkeys(places)) == text


def test_windows_hold_every_token_once() -> None:
    task = {"prefix": [7], "suffix": [8, 9], "max_length": 6}
    assert list(windows(range(7), task)) == [(0, [7, 0, 1, 2, 8, 9]), (3, [7, 3, 4, 5, 8, 9]), (6, [7, 6, 8, 9])]
    assert list(windows([], task)) == []


def test_a_dictionary_finds_whole_words_the_longest_first() -> None:
    found = Dictionary([("New York", [(0, 8, "LOC")]), ("York", [(0, 4, "PER")]), ("\u5317\u4eac", [(0, 2, "LOC")])])
    text = "New York, York and Yorkshire; \u5728\u5317\u4eac\u7684"
    assert [(text[begin:end], label) for begin, end, label in found.find(text)] == [
        ("New York", "LOC"), ("York", "PER"), ("\u5317\u4eac", "LOC"),
    ]  # fmt: skip


SPANS = st.lists(st.tuples(st.integers(0, 3), st.just(4), st.sampled_from("XY")), unique=True, max_size=4)


@given(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=6))
def test_precision_recall_and_f1_are_scikit_learns(documents: list[tuple[list, list]]) -> None:
    rows = [compared(truth, said) for truth, said in documents]
    every = sorted({(n, span) for n, pair in enumerate(documents) for side in pair for span in side})
    sides = [[(span in documents[n][side]) for n, span in every] for side in (0, 1)]
    wanted = precision_recall_fscore_support(*sides, average="binary", zero_division=0.0) if every else (0, 0, 0, 0)
    found = measure(pl.DataFrame(rows), SpanEval(resamples=100))
    assert [found["precision"], found["recall"], found["span_f1"]] == pytest.approx(list(wanted[:3]))
    assert SPAN_F1.needs == ("hits", "true", "said")
