import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.schema.rules import RulesConf, languages
from tasks.clean.rules import _SETTINGS, judge

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
    ("min_sentences", 3, "One line. And another.", "2 < 3"),
    ("min_stop_words", 2, "the cat sat", "1 < 2"),
    ("max_duplicate_lines", 0.3, "same line\nsame line\nother line", "0.3333 > 0.3"),
    ("max_duplicate_line_chars", 0.2, "a\nsame line\nsame line\nother", "0.3750 > 0.2"),
    ("max_duplicate_paragraphs", 0.3, "one\n\ntwo\nlines\n \ntwo\nlines", "0.3333 > 0.3"),
    ("max_duplicate_paragraph_chars", 0.2, "seven\n\nfour\n\n\nfour", "0.3077 > 0.2"),
    ("max_top_ngrams", {2: 0.2}, "one two or one two and more", "2: 0.5714 > 0.2"),
    ("max_duplicate_ngrams", {9: 0.9, 3: 0.2}, "all of us or all of us", "3: 0.4348 > 0.2"),
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
    assert {case[0] for case in CASES} == set(RulesConf.model_fields) - set(_SETTINGS)


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


def numbered(words: int) -> str:
    """So many words, all different and four characters long."""
    return " ".join(f"w{n:03}" for n in range(words))


def with_again(words: int, again: int) -> str:
    """So many words, all different but that the last few repeat the first."""
    return numbered(words - again) + " " + numbered(again)


def lines(good: int, bad: int, ending: str = "", start: str = "") -> str:
    """Lines of equal length, some of them with a start or an end that others lack."""
    return "\n".join([f"w{n:03}" for n in range(good)] + [f"{start}w{n:03}{ending}" for n in range(100, 100 + bad)])


BOUNDS = {
    "gopher": [
        ("min_words", numbered(49), numbered(50)),
        ("max_words", "a " * 100_001, "a " * 100_000),
        ("min_mean_word", "ab abc", "abc abc"),
        ("max_mean_word", "a" * 11, "a" * 10),
        ("max_hash_ratio", "# # " + numbered(8), "# " + numbered(9)),
        ("max_ellipsis_ratio", "... \u2026 " + numbered(8), "... " + numbered(9)),
        ("max_bullet_lines", lines(0, 10, start="\u2022 "), lines(1, 9, start="- ")),
        ("max_ellipsis_lines", lines(6, 4, "..."), lines(7, 3, " \u2026")),
        ("min_alpha_words", "1 2 3 " + numbered(7), "1 2 " + numbered(8)),
        ("min_stop_words", "the cat, the house", "The cat of a house"),
        ("max_duplicate_lines", lines(6, 0) + "\n" + lines(4, 0), lines(8, 0) + "\n" + lines(2, 0)),
        ("max_duplicate_line_chars", lines(7, 0) + "\n" + lines(3, 0), lines(8, 0) + "\n" + lines(2, 0)),
        ("max_duplicate_paragraphs", "a\n\nb\n\nb", "a\n\nb\n\nc\n\nd"),
        ("max_duplicate_paragraph_chars", "ab\n\nd\n\nd", "abc\n\nd\n\nd"),
        *(
            ("max_top_ngrams", numbered(size) + " or " + with_again(most, size), with_again(least, size))
            for size, most, least in ((2, 20, 20), (3, 30, 34), (4, 40, 50))
        ),
        *(
            ("max_duplicate_ngrams", with_again(int(size / share), size), with_again(int(size / share) + 1, size))
            for size, share in ((5, 0.151), (6, 0.141), (7, 0.131), (8, 0.121), (9, 0.111), (10, 0.101))
        ),
    ],
    "c4": [
        ("min_sentences", "One. Two! Three?\nFour", "One. Two! Three?\nFour\nFive"),
        ("banned_phrases", "Lorem ipsum dolor", "lorem et ipsum"),
        ("curly_brackets", "a {", "a ("),
    ],
    "fineweb": [
        ("min_line_punctuation", lines(23, 2, "."), lines(22, 3, "!")),
        ("max_short_lines", "\n".join(["a" * 30] * 7 + ["a" * 31] * 3), "\n".join(["a" * 30] * 2 + ["a" * 31])),
        ("max_duplicate_line_chars", lines(50, 0) + "\nw000", lines(200, 0) + "\nw000"),
        ("max_newline_ratio", "a b c d e f g\nh\ni\nj\nk", "a b c d e f g\nh\ni\nj"),
    ],
}
SIDES = [(name, *bound) for name, bounds in BOUNDS.items() for bound in bounds]


@pytest.mark.parametrize(("name", "rule", "bad", "good"), SIDES, ids=[f"{side[0]}-{side[1]}" for side in SIDES])
def test_a_published_rule_stands_between_its_two_documents(name: str, rule: str, bad: str, good: str) -> None:
    conf = OFF.model_copy(update={rule: getattr(RulesConf.model_validate(name), rule)})
    assert verdict(bad, conf)[0] == rule
    assert verdict(good, conf) == (None, None)


def test_there_are_two_documents_for_every_published_rule() -> None:
    for name in BOUNDS:
        rules = RulesConf.model_validate(name).model_dump(exclude={"published", "lines"})
        assert {bound[0] for bound in BOUNDS[name]} == {rule for rule, value in rules.items() if value is not None}


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0),
        ("---", 0),
        ("No full stop", 1),
        ("One. two e.g. three", 1),
        ('He said "No." (And left.) 7 came.', 3),
        ("One?! Two\u2026 Three", 3),
        ("\u4e00\u3002\u4e8c\uff01\u4e09\u3002", 3),
        ("a line\n\nand a line", 2),
    ],
)
def test_a_sentence_ends_at_a_full_stop_before_a_capital_and_at_the_end_of_a_line(text: str, sentences: int) -> None:
    assert verdict(text, OFF.model_copy(update={"min_sentences": sentences + 1}))[1] == f"{sentences} < {sentences + 1}"
    assert verdict(text, OFF.model_copy(update={"min_sentences": sentences})) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "今天早上我们走到河边，看了很久的冰。",
        "今日の朝、私たちは川まで歩いて、長い間氷を見ていました。",
        "เช้านี้เราเดินไปที่แม่น้ำและมองดูน้ำแข็งอยู่นาน",
        "ມື້ເຊົ້ານີ້ພວກເຮົາຍ່າງໄປແມ່ນ້ຳແລະເບິ່ງນ້ຳກ້ອນ",
        "ព្រឹកនេះយើងដើរទៅមាត់ទន្លេហើយមើលទឹកកក",
        "ဒီမနက် ကျွန်တော်တို့ မြစ်ကမ်းကို လမ်းလျှောက်သွားတယ်။",
        "Сегодня утром мы вышли к реке и долго смотрели на лёд.",
        "خرجنا هذا الصباح إلى النهر ونظرنا طويلا إلى الجليد.",
        "आज सुबह हम नदी तक गए और देर तक बर्फ़ को देखते रहे।",
        "오늘 아침 우리는 강가로 걸어가서 얼음을 오래 바라보았다.",
        "这部片子太好看了，推荐大家去看……",
        "“你来了。”他说。“请坐下吧。”",
        "用 Python 3.11 写的一个小程序：1、2、3、4、5、6、7、8、9。",
    ],
)
def test_a_sentence_of_any_script_passes_the_defaults(text: str) -> None:
    assert verdict(text, RulesConf()) == (None, None)


SPOKEN = {
    "zh": "今天早上我们走到河边，看了很久的冰。水流得很慢，岸上很安静，没有人说话。",
    "ja": "今日の朝、私たちは川まで歩いて、長い間氷を見ていました。岸は静かで、誰も話していません。",
    "th": "เช้านี้เราเดินไปที่แม่น้ำและมองดูน้ำแข็งอยู่นาน ฝั่งเงียบมากและไม่มีใครพูดอะไรเลยในวันนั้น",
    "ru": "Сегодня утром мы вышли к реке и долго смотрели на лёд, а на берегу никого не было.",
    "ar": "خرجنا هذا الصباح إلى النهر ونظرنا طويلا إلى الجليد، ولم يكن على الضفة من يتكلم.",
    "de": "Heute Morgen gingen wir an den Fluss und sahen lange auf das Eis, und die Ufer waren still.",
}


@pytest.mark.parametrize("code", SPOKEN)
def test_the_set_of_a_language_keeps_its_prose_and_drops_what_repeats_itself(code: str) -> None:
    rules = RulesConf.model_validate(languages()[code])
    draw = random.Random(0)
    words = list(SPOKEN[code]) if code in ("zh", "ja", "th") else SPOKEN[code].split(" ")
    joined = "" if code in ("zh", "ja", "th") else " "
    varied = [joined.join([*draw.sample(words, len(words)), SPOKEN[code][-1]]) for _ in range(6)]
    assert (
        verdict("\n".join([SPOKEN[code], *varied]), rules.model_copy(update={"min_line_punctuation": None}))[0] is None
    )
    assert "duplicate" in str(verdict("\n".join([SPOKEN[code]] * 7), rules)[0])


@pytest.mark.parametrize(
    "text",
    [
        "1. The quick brown fox jumps over the lazy dog, again and again.",
        "So they went on and on until the night was nearly over…",
        "- one thing that is to be done\n- another thing that has to be done",
        "一、今天早上我们走到河边，看了很久的冰",
    ],
)
def test_a_few_lines_are_no_list_unless_that_is_asked_for(text: str) -> None:
    assert verdict(text, RulesConf()) == (None, None)
    assert verdict(text, RulesConf(least_lines=1))[0] in ("max_bullet_lines", "max_ellipsis_lines")


@pytest.mark.parametrize(
    "line", ["- item {} of the list here", "{}、今天早上我们走到河边", "・項目{}の説明です", "（一）第{}章的内容很多"]
)
def test_a_list_of_some_lines_is_one_in_any_script(line: str) -> None:
    digits = "abcdefgh" if line.startswith("-") else "一二三四五六七八"
    text = "\n".join(line.format(digit) for digit in digits)
    assert verdict(text, RulesConf())[0] == "max_bullet_lines"


def test_a_note_of_the_source_after_each_meaning_does_not_cost_an_entry() -> None:
    meanings = [
        f"{n}. A meaning of the word, number {n}, as {'it' * n} is told in the {n}th book." for n in range(1, 13)
    ]
    entry = "\n".join(f"{meaning}\n   [1913 Webster]" for meaning in meanings)
    assert verdict(entry, RulesConf()) == (None, None)
    assert verdict("\n".join(["The same line, said again and again."] * 12), RulesConf())[0] is not None


WORDS = st.sampled_from(["the", "of", "data", "w1", "...", "#", "-", "{", "End.", "\n", "\n\n", "\u4e2d\u6587\u3002"])
TEXTS = st.lists(st.lists(WORDS, max_size=40).map(" ".join), max_size=12)


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS, size=st.integers(1, 5))
def test_a_verdict_does_not_depend_on_the_documents_beside(texts: list[str], size: int) -> None:
    conf = RulesConf.model_validate({"published": ["gopher", "c4", "fineweb"], "min_words": 3, "min_sentences": 1})
    prose, nobody = pl.Series("prose", texts, dtype=pl.String), pl.Series([None] * len(texts), dtype=pl.Int64)
    whole = judge(prose, nobody, conf)
    parts = [judge(prose[n : n + size], nobody[n : n + size], conf) for n in range(0, len(texts), size)]
    assert whole.equals(pl.concat([whole.clear(), *parts]))
