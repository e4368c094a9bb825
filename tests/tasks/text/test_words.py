import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from tasks.text import words as words_module
from tasks.text.words import (
    ALPHABETIC,
    CHARACTERS,
    bare,
    beginning,
    count,
    letters_per_word,
    longest,
    mostly_single,
    ngrams,
    pieces,
    plain_spaces,
    repeats,
    singles,
    spread,
    terms,
    word_bytes,
    word_hashes,
    words,
)

ALPHABET = "ab é 中文の、。“”ーがกำ่ລກខ្ကမြ့བ་ㄅꀀ한я\t\u2003\u00a0\n(-"
TEXTS = st.lists(st.text(st.sampled_from(ALPHABET), max_size=20), max_size=8)


def column(texts: list[str]) -> pl.Series:
    return pl.Series("text", texts, dtype=pl.String)


def hashes_of(text: str) -> list[int]:
    return word_hashes(column([text])).values.tolist()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The library reads.", ["The", "library", "reads."]),
        ("", []),
        ("  ", []),
        ("我们走到河边，看冰。", ["我", "们", "走", "到", "河", "边，", "看", "冰。"]),
        ("用Python写3行", ["用", "Python", "写", "3", "行"]),
        ("他说：“好！”", ["他", "说：", "“好！”"]),
        ("データをコピーする", ["デー", "タ", "を", "コ", "ピー", "す", "る"]),
        ("ﾃﾞｰﾀ", ["ﾃﾞｰ", "ﾀ"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("ສະບາຍ", ["ສ", "ະ", "ບ", "າ", "ຍ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("བོད་ཡིག", ["བོ", "ད་", "ཡི", "ག"]),
        ("Мы вышли к реке", ["Мы", "вышли", "к", "реке"]),
        ("خرجنا إلى النهر", ["خرجنا", "إلى", "النهر"]),
        ("हम नदी तक गए", ["हम", "नदी", "तक", "गए"]),
        ("우리는 강으로 갔다", ["우리는", "강으로", "갔다"]),
    ],
)
def test_a_word_is_what_its_script_takes_for_one(text: str, found: list[str]) -> None:
    assert words(text) == found


@given(TEXTS)
def test_one_text_has_the_words_that_it_has_in_a_column(texts: list[str]) -> None:
    alone = [words(text) for text in texts]
    assert count(column(texts)).to_list() == [len(found) for found in alone]
    assert spread(column(texts)).str.extract_all(r"\S+").to_list() == alone
    assert word_hashes(plain_spaces(column(texts))).lengths.tolist() == [len(found) for found in alone]


@given(TEXTS, st.sampled_from([1, 5, words_module._BLOCK]))
def test_words_are_hashed_as_if_each_text_stood_alone(texts: list[str], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words_module, "_BLOCK", block)
        runs = word_hashes(plain_spaces(column(texts)))
    alone = {word: hashes_of(word)[0] for text in texts for word in words(text)}
    for n, text in enumerate(texts):
        assert runs.values[runs.starts[n] : runs.starts[n + 1]].tolist() == [alone[word] for word in words(text)]
    assert len(set(alone.values())) == len(alone)


@given(TEXTS)
def test_no_character_of_a_text_is_lost_between_its_words(texts: list[str]) -> None:
    assert ["".join(words(text)) for text in texts] == ["".join(text.split()) for text in texts]


def test_hashes_never_change_between_versions() -> None:
    assert hashes_of("Parameters") == [17910510732231081575]


def test_a_shorter_text_has_one_ngram_and_an_empty_one_none() -> None:
    runs = ngrams(word_hashes(column(["a b c d", "a b", "", "a b c", "b c d"])), 3)
    assert runs.lengths.tolist() == [2, 1, 0, 1, 1]
    first, second, short, same, last = runs.values.tolist()
    assert first == same and second == last and short not in (first, second)


def grams_by_hand(text: str, size: int, characters: int) -> list[tuple[str, ...]]:
    """The shortest runs that are long enough, from each word on; all of a shorter text."""
    found, grams = words(text), []
    weights = [size if word in ("中", "の", "กี") else characters for word in found]
    for first in range(len(found)):
        weight = 0
        for last in range(first, len(found)):
            weight += weights[last]
            if weight >= size * characters:
                grams.append(tuple(found[first : last + 1]))
                break
    return grams or ([tuple(found)] if found else [])


MIXED = st.lists(st.lists(st.sampled_from(["a", "bb", "中", "の", "กี", "я"]), max_size=14).map(" ".join), max_size=6)


@given(MIXED, st.integers(1, 4), st.integers(1, 6))
def test_ngrams_are_equal_when_their_words_are(texts: list[str], size: int, characters: int) -> None:
    runs = ngrams(word_hashes(column(texts)), size, characters)
    by_hand = [grams_by_hand(text, size, characters) for text in texts]
    assert runs.lengths.tolist() == [len(grams) for grams in by_hand]
    named: dict[tuple[str, ...], int] = {}
    for gram, value in zip((gram for grams in by_hand for gram in grams), runs.values.tolist(), strict=True):
        assert named.setdefault(gram, value) == value
    assert len(set(named.values())) == len(named)


@given(MIXED, MIXED)
def test_an_ngram_does_not_depend_on_the_scripts_beside_it(texts: list[str], others: list[str]) -> None:
    alone, together = (ngrams(word_hashes(column(some)), 3) for some in (texts, [*texts, *others, "中"]))
    assert together.values[: together.starts[len(texts)]].tolist() == alone.values.tolist()


def test_an_ngram_of_letters_is_as_much_text_as_one_of_words() -> None:
    runs = ngrams(word_hashes(column(["一二三四五六七八九十", "a b c d e f g h i j"])), 5)
    assert runs.lengths.tolist() == [10 - int(5 * CHARACTERS) + 1, 6]


@given(TEXTS)
def test_repeats_counts_words_that_came_before(texts: list[str]) -> None:
    found = [words(text) for text in texts]
    assert repeats(word_hashes(plain_spaces(column(texts)))).tolist() == [len(w) - len(set(w)) for w in found]


def test_longest_is_in_bytes() -> None:
    assert np.array_equal(longest(word_hashes(column(["a bcd ef", "", "é", "长长长长"]))), [3, 0, 2, 3])


def test_bytes_of_words_leave_the_white_space_out() -> None:
    assert word_bytes(word_hashes(column(["a  bcd\n", "", " ", "é", "一 二"]))).tolist() == [4, 0, 0, 2, 6]


def test_documents_without_spaces_are_told_from_those_that_quote_a_few_letters() -> None:
    found = word_hashes(column(["这是一段文字", "the word 水 means water", "", "三 words"]))
    assert singles(found).tolist() == [6, 1, 0, 1]
    assert mostly_single(found).tolist() == [True, False, False, False]
    assert letters_per_word(found).tolist() == [CHARACTERS, 1, 1, 1]
    assert letters_per_word(word_hashes(column(["ที่นี่คือบ้าน中", "ที่中中", "a"]))).tolist() == [ALPHABETIC, CHARACTERS, 1]


SAME = [
    ("Don't stop -- it's “fine”, he said.", 'dont stop  its "fine" he said'),
    ("Don’t", "don't"),
    ("THE STRASSE IS LONG", "the Straße, is long!"),
    ("全角ＡＢＣ１２３、ﾃﾞｰﾀ。", "全角abc123 データ"),
    ("他说：「好」……", "他说好"),
    ("Сегодня — утром", "сегодня утром"),
    ("مرحبا، كيف؟", "مرحبا كيف"),
    ("हम नदी तक गए।", "हम नदी तक गए"),
    ("one\n\ttwo\u3000three", "one two three"),
    ("Lotus\u2122 at 5 \u2103", "lotus at 5"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_clothes_do_not_make_words_other_words(left: str, right: str) -> None:
    one, other = (words(text) for text in bare(column([left, right])))
    assert one == other and one


@pytest.mark.parametrize(
    ("left", "right"), [("cat", "cut"), ("नदी", "नद"), ("ที่", "ที"), ("が", "か"), ("ü", "u"), ("1", "2")]
)
def test_marks_and_digits_do(left: str, right: str) -> None:
    assert bare(column([left])).to_list() != bare(column([right])).to_list()


def test_a_text_without_a_letter_keeps_its_signs() -> None:
    assert bare(column(["!!!", " - - ", "", "😀  😀"])).to_list() == ["!!!", "- -", "", "😀 😀"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("One  two\nthree four", "One two three"),
        ("今天早上我们走到河边", "今天早上"),
        ("他说：“好”，就走了", "他说：“好”，就"),
        ("用Python写几行程序", "用Python写几"),
        ("one", "one"),
        ("", ""),
        ("ที่นี่คือบ้าน", "ที่นี่คือบ้าน"),
        ("ประเทศไทยมีภูเขาสูง", "ประเทศไทยมี"),
    ],
)
def test_a_beginning_is_some_words_as_the_text_writes_them(text: str, start: str) -> None:
    assert beginning(text, 3) == start


@given(st.text(st.sampled_from(ALPHABET), max_size=30))
def test_pieces_are_words_and_gaps_that_make_up_the_text(text: str) -> None:
    found = pieces(text)
    assert [word for word in found[::2] if word] == words(text)
    assert "".join(found) == text.strip()


def test_terms_are_words_without_punctuation_and_without_lone_letters_where_there_are_spaces() -> None:
    texts = ["A cat's e-mail, 2 of 10.", "今天（早上）。", "नदी तक, ที่ นี่", "Über_all x"]
    assert terms(column(texts)).to_list() == [
        ["cat", "mail", "of", "10"], ["今", "天", "早", "上"], ["नदी", "तक", "ที่", "นี่"], ["über_all"],
    ]  # fmt: skip


@given(st.text(st.sampled_from("ab é я_1'.,-\n"), max_size=30))
def test_terms_of_scripts_with_spaces_are_those_of_scikit_learn(text: str) -> None:
    assert terms(column([text]))[0].to_list() == CountVectorizer().build_analyzer()(text)


def test_what_is_hashed_is_the_same_with_an_ordinary_text_of_many_scripts_beside_it() -> None:
    draw = random.Random(0)
    texts = ["".join(draw.choices(ALPHABET, k=200)) for _ in range(50)]
    together = ngrams(word_hashes(plain_spaces(column(texts))), 5)
    for n, text in enumerate(texts):
        alone = ngrams(word_hashes(plain_spaces(column([text]))), 5)
        assert alone.values.tolist() == together.values[together.starts[n] : together.starts[n + 1]].tolist()
