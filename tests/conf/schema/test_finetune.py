"""Options of fine-tuning that exclude each other, and what enters a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.models.text_classification.classifier_options import (
    AugmentConf,
    BackTranslationConf,
    ClassifyConf,
    TranslateConf,
    TranslatorConf,
)

HERE = {"there": {"model": "./a"}, "back": {"model": "./b"}}
COMMIT = "0" * 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"translate": {**HERE, "there": {"model": "own/a"}}}, "own/a is a name on the hub.*revision="),
        ({"translate": {**HERE, "back": {"model": "own/b", "revision": "main"}}}, "should match pattern"),
        ({"translate": {**HERE, "there": {"model": "~/a", "revision": COMMIT}}}, "a local folder has no revision"),
        ({"translate": {**HERE, "beams": 4}}, "set temperature=0 too"),
        ({"translate": {**HERE, "temperature": 0}, "copies": 2}, "set copies=1"),
    ],
)
def test_options_of_translation_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AugmentConf.model_validate(options)


def test_how_copies_are_translated_is_no_part_of_fine_tunings_own_key() -> None:
    plain, there = AugmentConf(copies=2), BackTranslationConf.model_validate(HERE)
    assert plain.for_key() == {"copies": 2, "synonyms": {}, "replace": 0.1, "swap": 0.1, "delete": 0.1}
    assert AugmentConf(copies=2, translate=there).for_key() == plain.for_key()


def test_only_what_decides_on_copies_enters_the_key_of_translating_them() -> None:
    def key(translate: dict[str, Any] | None = None, copies: int = 1, **options: Any) -> dict[str, Any]:
        augment = AugmentConf.model_validate({"translate": {**HERE, **(translate or {})}, "copies": copies})
        return TranslateConf(classify=ClassifyConf(augment=augment, **options)).for_key()

    same = [key(learning_rate=0.1), key(epochs=7, max_length=9), key({"there": {"model": "/elsewhere/a"}})]
    assert all(one == key() for one in same)
    other = [
        key({"share": 0.5}), key({"temperature": 1}), key({"there": {"model": "./a", "prefix": "to German: "}}),
        key({"batch": 8}), key(copies=2), key(seed=1), key(balance="oversample"), key(masked_words=("np",)),
        key(max_per_class=9), key({"back": {"model": "./b", "target_language": "eng_Latn"}}),
    ]  # fmt: skip
    assert all(one != key() for one in other)


def test_a_local_model_is_found_from_any_folder_once_its_option_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"/a/b": "/a/b", "./a": f"{tmp_path}/a", "a": None, "~/a": f"{Path.home()}/a", "own/a": None}
    for name, place in named.items():
        conf = TranslatorConf(model=name, revision=None if place else COMMIT)
        assert (conf.model, conf.is_local) == (place or name, place is not None)
