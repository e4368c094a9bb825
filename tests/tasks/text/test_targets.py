"""What a model is to say of a text, as rows have it and as documents keep it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text import targets


@pytest.mark.parametrize(
    ("meaning", "given", "kept"),
    [
        ("number", "4.5", 4.5),
        ("number", 3, 3.0),
        ("labels", "news; sport ,news", ["news", "sport"]),
        ("labels", ["b", "a", "b"], ["a", "b"]),
        ("labels", '["a, b", "c"]', ["a, b", "c"]),
        ("labels", [], []),
        ("spans", [{"start": 4, "end": 6, "label": "x"}, [0, 3, "y"]], [[0, 3, "y"], [4, 6, "x"]]),
        ("spans", '[{"start": 0, "end": 1, "entity_group": "PER"}]', [[0, 1, "PER"]]),
        ("target", "Guten Tag", "Guten Tag"),
        ("rejected", [{"from": "human", "value": "?"}, {"from": "gpt", "value": "no"}], "no"),
        ("rejected", "no", "no"),
    ],
)
def test_what_a_column_holds_is_kept_in_one_form(meaning: Any, given: Any, kept: Any) -> None:
    found = targets.CHECKS[meaning](given)
    assert found == kept
    assert targets.read(targets.write({meaning: found})) == {meaning: kept}


@pytest.mark.parametrize(
    ("meaning", "given", "words"),
    [
        ("number", "four", "holds 'four' where a number should be"),
        ("number", "nan", "where a number should be"),
        ("number", True, "where a number should be"),
        ("labels", 4, "where a list of labels should be"),
        ("labels", "[a, b]", "where a list of labels should be"),
        ("spans", [{"start": 6, "end": 4, "label": "x"}], "start before end"),
        ("spans", [{"start": 0, "end": 4}], "start before end"),
        ("spans", "0-4", "where a list of spans should be"),
        ("target", " ", "where text should be"),
        ("rejected", [{"role": "user", "content": "?"}], "where an answer should be"),
    ],
)
def test_what_a_column_cannot_mean_is_said(meaning: Any, given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        targets.CHECKS[meaning](given)


def tagged(tokens: list[str], spans: list[list[Any]]) -> list[tuple[str, str]]:
    text = " ".join(tokens)
    return [(text[begin:end], label) for begin, end, label in spans]


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        (["B-PER", "I-PER", "O", "B-LOC"], [("Ada King", "PER"), ("London", "LOC")]),
        (["I-PER", "I-PER", "O", "I-LOC"], [("Ada King", "PER"), ("London", "LOC")]),
        (["B-PER", "B-PER", "O", "O"], [("Ada", "PER"), ("King", "PER")]),
        (["B-PER", "I-LOC", "O", "O"], [("Ada", "PER"), ("King", "LOC")]),
        (["B-PER", "E-PER", "O", "S-LOC"], [("Ada King", "PER"), ("London", "LOC")]),
        (["B-PER", "L-PER", "O", "U-LOC"], [("Ada King", "PER"), ("London", "LOC")]),
    ],
)
def test_tags_of_tokens_are_spans_of_the_text(tags: list[str], wanted: list[tuple[str, str]]) -> None:
    tokens = ["Ada", "King", "left", "London"]
    assert tagged(tokens, targets.of_tags(tokens, tags)) == wanted


@pytest.mark.parametrize(("tags", "words"), [(["O"], "holds 1 tags for 2 tokens"), (["O", 3], "holds the tag 3")])
def test_tags_that_fit_no_tokens_are_said(tags: list[Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        targets.of_tags(["a", "b"], tags)


@given(st.lists(st.tuples(st.text("ab\u4e2d", min_size=1), st.sampled_from(["", "PER", "LOC"])), min_size=1))
def test_every_token_of_a_span_and_no_other_is_in_it(tokens: list[tuple[str, str]]) -> None:
    tags = [f"B-{label}" if label else "O" for _, label in tokens]
    spans = targets.of_tags([token for token, _ in tokens], tags)
    assert tagged([token for token, _ in tokens], spans) == [one for one in tokens if one[1]]
