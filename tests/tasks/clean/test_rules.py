import polars as pl
import pytest

from conf.schema.clean import RulesConf
from tasks.clean.rules import judge

OFF = RulesConf(**dict.fromkeys(RulesConf.model_fields))
PROSE = (
    "The library reads a table of numbers and gives back the mean of each column.\n"
    "Rows that have a missing value are left out, and a warning says how many.\n"
    "It is meant to be used with tables that fit into memory."
)
CHAT = "hey, how was the trip to Lisbon?\nGreat! We ate pastries all day and walked a lot.\nJealous :)"


def verdict(text: str, conf: RulesConf, turns: int | None = None) -> tuple[str | None, str | None]:
    row = judge(pl.Series("prose", [text]), pl.Series("turns", [turns], dtype=pl.Int64), conf).row(0)
    return row[0], row[1]


CASES = [
    ("min_words", 10, "Only four words here", "4 < 10"),
    ("max_words", 3, "Only four words here", "4 > 3"),
    ("min_mean_word", 3.0, "a b c d ef", "1.2 < 3.0"),
    ("max_mean_word", 10.0, "electroencephalography is it", "8.6667 > 5.0"),
    ("max_longest_word", 1000, "x " + "QUFB" * 300, "1200 > 1000"),
    ("max_hash_ratio", 0.1, "# # one two", "0.5 > 0.1"),
    ("max_ellipsis_ratio", 0.1, "more ... and more \u2026", "0.4 > 0.1"),
    ("max_bullet_lines", 0.9, "- one\n* two\n  \u2022 three\n1. four", "1 > 0.9"),
    ("max_ellipsis_lines", 0.3, "read more...\nand more\u2026\nend", "0.6667 > 0.3"),
    ("min_alpha_words", 0.8, "1 2 3 four -- 5.0", "0.1667 < 0.8"),
    ("min_stop_words", 2, "the cat sat", "1 < 2"),
    ("max_duplicate_lines", 0.3, "same line\nsame line\nother line", "0.3333 > 0.3"),
    ("max_duplicate_line_chars", 0.2, "a\nsame line\nsame line\nother", "0.3750 > 0.2"),
    ("max_repeated_ngrams", 0.3, "buy it now or never " * 4, "0.6875 > 0.3"),
    ("min_line_punctuation", 0.12, "no stop\nnone here\neither", "0 < 0.12"),
    ("max_short_lines", 0.67, "short\nshorter\ntiny", "1 > 0.67"),
    ("max_newline_ratio", 0.3, "one\ntwo\nthree", "0.6667 > 0.3"),
    ("banned_phrases", ("lorem ipsum",), "Lorem IPSUM dolor sit amet", "lorem ipsum"),
    ("curly_brackets", True, "if (x) { return; }", "{"),
    ("max_replacement_chars", 0.01, "bad \ufffd\ufffd bytes", "0.1667 > 0.01"),
    ("min_messages", 2, "hello?", "1 < 2"),
]


@pytest.mark.parametrize(("rule", "threshold", "text", "detail"), CASES, ids=[case[0] for case in CASES])
def test_each_rule_condemns_its_case_and_names_itself(rule: str, threshold, text: str, detail: str) -> None:
    conf = OFF.model_copy(update={rule: 5.0 if rule == "max_mean_word" else threshold})
    reason, found = verdict(text, conf, turns=1)
    assert reason == rule
    assert found == detail.replace("0.3750", "0.375")
    assert verdict(text, OFF, turns=1) == (None, None)


def test_there_is_a_case_for_every_rule() -> None:
    assert {case[0] for case in CASES} == set(RulesConf.model_fields)


@pytest.mark.parametrize("text", [PROSE, CHAT, PROSE.replace("\n", "\n\n")])
def test_prose_and_chat_pass_the_defaults(text: str) -> None:
    assert verdict(text, RulesConf()) == (None, None)


def test_nearly_all_docstrings_pass_the_defaults(docstrings) -> None:
    nobody = pl.Series("turns", [None] * len(docstrings), dtype=pl.Int64)
    verdicts = judge(pl.Series("prose", docstrings), nobody, RulesConf())
    assert verdicts["reason"].null_count() / len(docstrings) > 0.93


def test_the_first_broken_rule_is_the_reason() -> None:
    conf = OFF.model_copy(update={"min_words": 5, "max_hash_ratio": 0.1})
    assert verdict("# # #", conf)[0] == "min_words"


def test_separators_and_blank_lines_are_no_duplicate_lines() -> None:
    text = "Parameters\n----------\nx : int\n\n\nReturns\n----------\ny : int\n----------"
    assert verdict(text, OFF.model_copy(update={"max_duplicate_lines": 0.01})) == (None, None)


def test_the_rule_about_messages_is_for_conversations_only() -> None:
    conf = OFF.model_copy(update={"min_messages": 2})
    assert verdict("hello", conf, turns=None) == (None, None)
    assert verdict("hello\nhi", conf, turns=2) == (None, None)


@pytest.mark.parametrize("text", ["", " ", "\n", "\u4e2d\u6587"])
def test_a_text_with_hardly_a_word_is_judged_without_failing(text: str) -> None:
    assert verdict(text, RulesConf())[0] == "min_words"


def test_no_rule_lets_everything_pass_and_no_text_is_no_verdict() -> None:
    assert verdict("", OFF) == (None, None)
    nothing = judge(pl.Series("prose", [], dtype=pl.String), pl.Series("turns", [], dtype=pl.Int64), RulesConf())
    assert nothing.height == 0
