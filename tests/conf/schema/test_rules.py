"""The published sets of rules: by name, together, and with single rules in their place."""

from typing import Any

import pytest
from pydantic import ValidationError

from conf.schema.clean import CleanConf
from conf.schema.language import LANGUAGES
from conf.schema.rules import FOLDER, RulesConf, languages, published


def given(rules: Any) -> dict[str, Any]:
    """What rules are on."""
    conf = RulesConf.model_validate(rules)
    return {name: value for name, value in conf.model_dump().items() if value is not None and name != "published"}


def test_the_sets_of_gopher_c4_and_fineweb_are_shipped() -> None:
    assert [name for name in published() if name not in languages().values()] == ["c4", "fineweb", "gopher"]


def test_the_sets_of_fineweb2_are_named_by_languages_that_are_told_apart() -> None:
    assert set(languages()) >= {"zh", "ja", "th", "ko", "ru", "ar", "hi", "de", "fr", "es"}
    assert set(languages()) <= set(LANGUAGES)


@pytest.mark.parametrize("name", languages().values())
def test_a_set_of_fineweb2_names_its_source_and_has_stop_words_that_are_words(name: str) -> None:
    assert "https://github.com/huggingface/fineweb-2 (Apache-2.0)" in (FOLDER / f"{name}.yaml").read_text()
    rules = RulesConf.model_validate(name)
    assert rules.stop_words and all(any(map(str.isalpha, word)) for word in rules.stop_words)
    assert rules.min_stop_words == 2 and rules.max_duplicate_lines and rules.max_top_ngrams and not rules.lines


@pytest.mark.parametrize("name", published())
def test_every_shipped_set_is_valid_and_stands_for_itself(name: str) -> None:
    assert given(name) == given([name]) == given({"published": name}) == given({"published": [name]})
    assert RulesConf.model_validate(name).published == (name,)


def test_a_rule_that_no_set_names_is_off_and_without_sets_the_defaults_stand() -> None:
    assert set(given("fineweb")) == {
        "min_line_punctuation",
        "max_short_lines",
        "max_duplicate_line_chars",
        "max_newline_ratio",
    }
    assert RulesConf.model_validate({}) == RulesConf.model_validate({"published": []}).model_copy(
        update={"published": None}
    )
    assert RulesConf().min_words == 8 and RulesConf().max_top_ngrams is None and RulesConf().lines is None


def test_of_two_sets_the_stricter_bound_holds_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {
        "one": {"min_words": 5, "max_words": 90, "banned_phrases": ["a"], "max_top_ngrams": {2: 0.2, 3: 0.1}},
        "other": {"min_words": 7, "max_words": 80, "banned_phrases": ["b", "a"], "max_top_ngrams": {2: 0.1, 4: 0.3}},
        "lines": {"lines": {"min_words": 3, "citations": False}, "curly_brackets": True},
        "more": {"lines": {"min_words": 4, "citations": True}, "max_newline_ratio": 0.1},
    }
    monkeypatch.setattr("conf.schema.rules._published", sets.__getitem__)
    both = given(["one", "other"])
    assert (both["min_words"], both["max_words"]) == (7, 80)
    assert set(both["banned_phrases"]) == {"a", "b"}
    assert both["max_top_ngrams"] == {2: 0.1, 3: 0.1, 4: 0.3}
    assert given(["other", "one"]) == both | {"banned_phrases": ("b", "a")}
    assert given(["lines", "more"])["lines"] == {
        **dict.fromkeys(("max_word", "banned_phrases")),
        "citations": True,
        "terminal_punctuation": False,
        "min_words": 4,
    }


def test_all_three_together_hold_the_rules_of_each() -> None:
    together = given(["gopher", "c4", "fineweb"])
    assert together["max_duplicate_line_chars"] == 0.01
    assert set(together) == {*given("gopher"), *given("c4"), *given("fineweb")}


def test_a_rule_that_is_given_beside_a_set_comes_first_and_null_turns_it_off() -> None:
    rules = RulesConf.model_validate(
        {
            "published": ["gopher", "c4"],
            "min_words": 20,
            "min_stop_words": None,
            "max_top_ngrams": {"2": 0.5},
            "lines": {"terminal_punctuation": False},
            "banned_phrases": ["spam"],
        }
    )
    assert (rules.min_words, rules.min_stop_words, rules.max_words) == (20, None, 100_000)
    assert rules.max_top_ngrams == {2: 0.5, 3: 0.18, 4: 0.16}
    assert rules.lines and (rules.lines.terminal_punctuation, rules.lines.min_words) == (False, 3)
    assert rules.banned_phrases == ("spam",)


def test_a_set_may_be_named_for_one_source_and_is_in_the_key_by_its_values() -> None:
    conf = CleanConf.model_validate({"rules": "gopher", "rules_by_source": {"web": ["c4", "fineweb"]}})
    key = conf.for_key()
    assert key["rules"]["min_words"] == 50 and key["rules_by_source"]["web"]["min_sentences"] == 5


@pytest.mark.parametrize("name", published())
def test_what_was_written_out_reads_back_the_same(name: str) -> None:
    rules = RulesConf.model_validate({"published": [name], "min_words": 3})
    assert RulesConf.model_validate(rules.model_dump(mode="json")) == rules


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("gofer", "there is no set of rules 'gofer'; did you mean gopher?"),
        (["c4", "c5"], "there is no set of rules 'c5'; did you mean c4?"),
        ({"max_top_ngrams": {0: 0.1}}, r"\{0: 0.1\} is not a number of words"),
        ({"published": "gopher", "max_duplicate_ngrams": {5: 15}}, r"\{5: 15.0\} is not a number of words"),
    ],
)
def test_a_wrong_set_or_share_is_named_with_its_fix(rules: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RulesConf.model_validate(rules)
