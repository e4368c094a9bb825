from __future__ import annotations

import random

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tasks.models.text_classification.augment import changed, copies
from tasks.models.text_classification.classifier_options import AugmentConf

QUIET = AugmentConf(replace=0, swap=0, delete=0)
TEXT = "A large, round thing.\n  It is (large) and Large!"


def table(texts: list[str], ids: list[str] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": ids or [f"{n:032x}" for n in range(len(texts))], "text": texts, "label": ["a"] * len(texts)}
    )


def test_synonyms_keep_capitals_and_what_stands_around() -> None:
    conf = QUIET.model_copy(update={"synonyms": {"large": ("big",)}, "replace": 1.0})
    assert changed(TEXT, conf, random.Random(0)) == "A big, round thing.\n  It is (big) and Big!"


@given(st.text("ab \n", max_size=40), st.integers(0, 5))
def test_swaps_and_deletions_leave_words_of_the_text_alone(text: str, seed: int) -> None:
    swapped = changed(text, QUIET.model_copy(update={"swap": 0.5}), random.Random(seed))
    assert sorted(swapped.split()) == sorted(text.split())
    some = changed(text, QUIET.model_copy(update={"delete": 0.9}), random.Random(seed))
    left = iter(text.split())
    assert all(word in left for word in some.split()) and bool(some) == bool(text.strip())
    assert changed(text, QUIET, random.Random(seed)) == text.strip()


def test_a_copy_depends_on_its_id_its_number_and_the_seed_alone() -> None:
    conf = AugmentConf(copies=2, swap=0.5)
    texts = [f"{n} " + TEXT for n in range(4)]
    found = copies(table(texts), conf, 7)
    assert found["label"].to_list() == ["a"] * 8
    assert found["id"].to_list() == [id_ for id_ in table(texts)["id"] for _ in "ab"]
    assert copies(table(texts)[2:], conf, 7).rows() == found.rows()[4:]
    assert copies(table(texts), conf, 8)["text"].to_list() != found["text"].to_list()
    again = copies(table([TEXT, TEXT], ["0" * 32] * 2), conf, 7)["text"]
    assert again.n_unique() == 4, "a row that is taken twice gives other copies each time"
