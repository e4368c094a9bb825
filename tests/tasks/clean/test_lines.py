import polars as pl
import pytest

from conf.schema.rules import LinesConf, RulesConf
from tasks.clean.lines import edit_lines

C4 = RulesConf.model_validate("c4").lines


def edited(text: str, conf: LinesConf) -> tuple[str, dict[str, int]]:
    texts, removed = edit_lines(pl.Series("piece", [text]), conf)
    return texts[0], dict(removed)


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        ("max_word", "a " + "\u00e9" * 1001, "a " + "\u00e9" * 1000),
        ("terminal_punctuation", "It goes on...", 'It ends here."'),
        ("terminal_punctuation", "A title", "An exclamation!  "),
        ("min_words", "Two words.", "There are three."),
        ("banned_phrases", "Please turn JavaScript on.", "Please turn Java on."),
        ("banned_phrases", "We have a Privacy Policy.", "We have a policy."),
    ],
)
def test_a_line_rule_of_c4_stands_between_its_two_lines(rule: str, bad: str, good: str) -> None:
    assert C4 is not None
    conf = LinesConf().model_copy(update={rule: getattr(C4, rule)})
    assert edited(f"{bad}\nkept it is too.", conf) == ("kept it is too.", {rule: 1})
    assert edited(good, conf) == (good, {})


def test_citations_leave_the_line_and_are_counted() -> None:
    text = "It flies.[1] Said who?[citation needed] See x[0][edit]"
    assert edited(text, LinesConf(citations=True)) == ("It flies. Said who? See x", {"citations": 4})


def test_a_line_is_judged_without_its_citations_and_counted_once() -> None:
    assert C4 is not None
    text = "A line that cites.[12]\n\nHome\n  An indented line stays.\nUse cookies"
    kept = "A line that cites.\n  An indented line stays."
    assert edited(text, C4) == (kept, {"citations": 1, "terminal_punctuation": 2})


def test_a_text_may_lose_all_its_lines_and_others_keep_their_places() -> None:
    assert C4 is not None
    texts = pl.Series("piece", ["Menu\nLogin", "This one is kept.", "", "So is this one."])
    assert edit_lines(texts, C4)[0].to_list() == ["", "This one is kept.", "", "So is this one."]


def test_no_rule_leaves_texts_and_their_blank_lines_alone() -> None:
    text = "a\n\n\nb"
    assert edited(text, LinesConf()) == (text, {})
    assert edited(text, LinesConf(banned_phrases=("javascript",))) == (text, {})


def test_no_text_has_no_line() -> None:
    assert C4 is not None
    texts, removed = edit_lines(pl.Series("piece", [], dtype=pl.String), C4)
    assert len(texts) == 0 and not removed
