import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.clean import NormaliseConf
from tasks.clean.normalise import SUSPICIOUS, normalise


def repaired(text: str, conf: NormaliseConf | None = None) -> str:
    return str(normalise(pl.Series("text", [text]), conf or NormaliseConf())[0][0])


@pytest.mark.parametrize(
    ("broken", "meant"),
    [
        ("The Mona Lisa doesn\u00e2\u20ac\u2122t have eyebrows.", "The Mona Lisa doesn\u2019t have eyebrows."),
        ("l\u00c3\u00a9vy stable", "l\u00e9vy stable"),
        ("\u00e4\u00b8\u00ad\u00e6\u2013\u2021 text", "\u4e2d\u6587 text"),
        ("cafe\u0301", "caf\u00e9"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("\ufeffstart\u200b of\x00 text\x07", "start of text"),
        ("\x1b[31mred\x1b[0m alert", "red alert"),
        ("a\u00a0b\u3000c", "a b c"),
        ("line   \nnext\t\n", "line\nnext"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("  \n\n    indented\n  less", "    indented\n  less"),
    ],
)
def test_what_nobody_meant_is_repaired(broken: str, meant: str) -> None:
    assert repaired(broken) == meant


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x\n\n\tif x:\n\t\tpass",
        "\u00c9t\u00e9 \u00e0 la fran\u00e7aise: \u00abna\u00efve\u00bb",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\u041f\u0440\u0438\u0432\u0435\u0442",
        "&lt;b&gt; stays as it is",
    ],
)
def test_what_was_meant_stays(text: str) -> None:
    assert repaired(text) == text


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = repaired(text, NormaliseConf(mojibake=False))
    assert repaired(once, NormaliseConf(mojibake=False)) == once
    assert unicodedata.is_normalized("NFC", once)


def test_only_suspicious_rows_are_handed_to_ftfy(monkeypatch, docstrings) -> None:
    import ftfy

    seen: list[str] = []
    monkeypatch.setattr(ftfy, "fix_encoding", lambda text: seen.append(text) or text)
    texts = pl.Series("text", [*docstrings, "l\u00c3\u00a9vy"])
    normalise(texts, NormaliseConf())
    assert seen == texts.filter(texts.str.contains(SUSPICIOUS)).to_list()
    assert len(seen) < 10


def test_repairs_are_counted_and_can_be_turned_off() -> None:
    texts = pl.Series("text", ["l\u00c3\u00a9vy", "fine", None])
    assert normalise(texts, NormaliseConf())[1] == 1
    assert normalise(texts, NormaliseConf(mojibake=False))[1] == 0
    assert repaired("\ufb01t", NormaliseConf(unicode="NFKC")) == "fit"
    assert repaired("cafe\u0301", NormaliseConf(unicode=None)) == "cafe\u0301"
