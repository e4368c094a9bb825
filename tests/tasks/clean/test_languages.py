import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.schema.language import LANGUAGES, LanguageConf
from tasks.clean.languages import identify, judge_language, load
from tasks.formats.documents import LANGUAGE

SENTENCES = {
    "en": "The library reads a table of numbers and gives back the mean of each column.",
    "de": "Die Bibliothek liest eine Tabelle mit Zahlen und gibt den Mittelwert jeder Spalte aus.",
    "fr": "La bibliothèque lit un tableau de nombres et renvoie la moyenne de chaque colonne.",
    "es": "La biblioteca lee una tabla de números y devuelve la media de cada columna.",
    "ru": "Библиотека читает таблицу чисел.",
    "ja": "このライブラリは数値の表を読み込みます。",
    "zh": "这个程序库可以读取表格并计算每一列的平均值。",
}
TEXTS = st.lists(st.one_of(st.sampled_from(list(SENTENCES.values())), st.text(max_size=60)), max_size=10)


def found(*texts: str) -> list[tuple[str, float]]:
    return identify(pl.Series("text", texts, dtype=pl.String)).rows()


def theirs(text: str) -> tuple[str, float]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    if not hasattr(theirs, "identifier"):
        theirs.identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return theirs.identifier.classify(text)


def test_each_sentence_is_of_its_language() -> None:
    assert [lang for lang, _ in found(*SENTENCES.values())] == list(SENTENCES)


def test_the_result_is_that_of_the_package_but_for_texts_that_show_no_language(docstrings) -> None:
    cases = [*SENTENCES.values(), *docstrings[:150], SENTENCES["de"].upper(), "e\u0301te\u0301 a\u0300 la plage"]
    for text, (lang, confidence) in zip(cases, found(*cases), strict=True):
        assert (lang, pytest.approx(confidence, abs=2e-3)) == theirs(text), text


def test_a_text_that_shows_no_language_is_undetermined() -> None:
    assert found("", "12 + 3", "\n") == [("und", 0)] * 3


def test_the_languages_that_may_be_named_are_those_of_the_model() -> None:
    assert set(LANGUAGES) == {*load().labels, "und"} and len(set(LANGUAGES)) == len(LANGUAGES)


def test_the_texts_stay_as_they_are_and_no_text_has_no_language() -> None:
    texts = pl.Series("text", ["SCHOOL IS OVER", "e\u0301", None])
    assert identify(texts).schema == LANGUAGE
    assert texts.to_list() == ["SCHOOL IS OVER", "e\u0301", None]
    assert identify(texts.clear()).equals(LANGUAGE.to_frame())


@settings(max_examples=30, deadline=None)
@given(texts=TEXTS, size=st.integers(1, 4))
def test_a_language_does_not_depend_on_the_texts_beside(texts: list[str], size: int) -> None:
    parts = [found(*texts[n : n + size]) for n in range(0, len(texts), size)]
    assert found(*texts) == [row for part in parts for row in part]


@pytest.mark.parametrize(
    ("conf", "reasons"),
    [
        (LanguageConf(), [None, None, None]),
        (LanguageConf(keep=("en", "de")), [None, None, "fr (0.9)"]),
        (LanguageConf(keep=("en",)), [None, "de (0.4)", "fr (0.9)"]),
        (LanguageConf(min_confidence=0.5), [None, "de (0.4 < 0.5)", None]),
        (LanguageConf(keep=("de",), min_confidence=0.4), ["en (0.5)", None, "fr (0.9)"]),
    ],
)
def test_other_languages_and_doubtful_ones_go_with_the_reason_language(conf: LanguageConf, reasons: list) -> None:
    rows = pl.DataFrame({"lang": ["en", "de", "fr"], "lang_confidence": [0.5, 0.4, 0.9]}, schema=LANGUAGE)
    judged = judge_language(rows, conf)
    assert judged["detail"].to_list() == reasons
    assert judged["reason"].to_list() == [detail and "language" for detail in reasons]
