"""What a word is, for the whole pipeline, and hashes of words and of runs of words, for whole columns at once.

A word is what stands between white space; in scripts that write no spaces (Han, Kana, Thai, Lao, Khmer, Myanmar,
Tibetan, …) every letter with the marks on it is a word, with the punctuation around it. Korean, Russian, Arabic or
Hindi have spaces, so that they need nothing of the kind.

Hashes are the same on every machine and in every version: prefix sums of a polynomial over the bytes, modulo 2**64,
then a mixing round of SplitMix64 (Steele et al. 2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]
Shares = NDArray[np.float64]
Mask = NDArray[np.bool_]

CHARACTERS, ALPHABETIC = 1.6, 3.6
"""Letters of a script without spaces that say as much as a word of one with spaces, about, as published rules count
words: characters of Han and Kana (1.6 in a Chinese word), and letters of alphabets (3.6 without the marks on them in a
Thai word, as PyThaiNLP's newmm finds words in LibreOffice's messages)."""

_IDEOGRAPHS = ("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Tangut", "Nushu", "Khitan_Small_Script")
_ALPHABETS = (
    "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom",
    "Javanese", "Balinese",
)  # fmt: skip
"""Scripts that write no spaces between words (of Unicode's line breaking classes ID and SA, and those like them)."""


def _letter(scripts: tuple[str, ...]) -> str:
    return "[[" + "".join(f"\\p{{{name}}}" for name in scripts) + r"]&&[\p{L}\p{Nl}]]"


_LETTER = _letter(_IDEOGRAPHS + _ALPHABETS)
_MARKS = r"[\p{M}\u30fc\uff70\uff9e\uff9f\u200c\u200d]*"
_OPENING, _CLOSING = r"[\p{Ps}\p{Pi}]*", r"[\p{P}&&[^\p{Ps}\p{Pi}]]*"
_BEFORE, _AFTER, _AFTER_ALPHABETIC = "\x1c", "\x1d", "\x1e"
"""Stand around a word of one letter while words are looked for; no text has them (see `normalise`)."""
_BETWEEN = f"{_BEFORE}[^{_AFTER}{_AFTER_ALPHABETIC}]*[{_AFTER}{_AFTER_ALPHABETIC}]"
_IDEOGRAPH, _ALPHABETIC_LETTER = _letter(_IDEOGRAPHS), _letter(_ALPHABETS)
_OF_IDEOGRAPH = f"{_OPENING}{_IDEOGRAPH}{_MARKS}{_CLOSING}"
_OF_LETTER = f"{_OPENING}{_ALPHABETIC_LETTER}{_MARKS}{_CLOSING}"
"""Words of one letter."""

_BASE = 0x9E3779B97F4A7C15
_BASE_INVERSE = pow(_BASE, -1, 2**64)
_BLOCK = 1 << 17
"""Bytes hashed at a time: they stay in the processor's cache."""
_SPACES = np.isin(np.arange(256), [9, 10, 11, 12, 13, 32, *map(ord, (_BEFORE, _AFTER, _AFTER_ALPHABETIC))])
_WIDE_SPACE = "[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"


@dataclass(frozen=True)
class Runs:
    """Hashes of all documents in one array; document i has values[starts[i]:starts[i + 1]]."""

    values: Hashes
    starts: Offsets
    sizes: Offsets | None = None
    """Bytes of each word, where the hashes are those of words."""
    single: Mask | None = None
    """Which words are one letter of a script without spaces; None where there is none among all."""
    alphabetic: Mask | None = None
    """Which of these are letters of an alphabet; None where there is none among all."""

    @property
    def lengths(self) -> Offsets:
        """How many hashes each document has."""
        return np.diff(self.starts)

    @property
    def owners(self) -> Offsets:
        """The document of each hash."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)


def words(text: str) -> list[str]:
    """The words of one text, as `word_hashes` and `count` see them in a column."""
    found: list[str] = spread(pl.Series([text], dtype=pl.String)).str.extract_all(r"\S+")[0].to_list()
    return found


def count(texts: pl.Series) -> pl.Series:
    """The number of words of each text."""
    return spread(texts).str.count_matches(r"\S+")


def terms(texts: pl.Series) -> pl.Series:
    """What a bag of words holds of each text: its words without punctuation, in lower case, of two letters or digits or
    more in scripts with spaces."""
    return spread(texts).str.to_lowercase().str.extract_all(rf"[\p{{L}}\p{{N}}_][\p{{L}}\p{{M}}\p{{N}}_]+|{_LETTER}")


def pieces(text: str) -> list[str]:
    """A text, but for white space at its ends, as words and what stands between them (maybe nothing), by turns."""
    found, end = [], 0
    for word in words(text):
        place = text.index(word, end)
        found += [text[end:place], word]
        end = place + len(word)
    return found[1:] or [""]


def beginning(text: str, most: int) -> str:
    """The first words of a text, `most` at most, as it writes them, each run of white space one space; of letters of a
    script without spaces as many as say as much (see `CHARACTERS`)."""
    line = collapse(pl.Series([text], dtype=pl.String))[0]
    found = words(line)
    column = pl.Series(found, dtype=pl.String)
    each = [column.str.contains(_IDEOGRAPH).to_numpy(), column.str.contains(_ALPHABETIC_LETTER).to_numpy()]
    fits = np.cumsum(np.select(each, [1 / CHARACTERS, 1 / ALPHABETIC], 1)) < most + 1e-9
    end = 0
    for word in found[: int(fits.sum())]:
        end = line.index(word, end) + len(word)
    return str(line[:end])


def spread(texts: pl.Series) -> pl.Series:
    """The texts with a space on both sides of every word of one letter: each of their words is a run of non-spaces."""
    return _marked(texts).str.replace_all(f"[{_BEFORE}{_AFTER}{_AFTER_ALPHABETIC}]", " ")


def bare(texts: pl.Series) -> pl.Series:
    """The words alone: no punctuation and no symbol, lower case, one width (NFKC), every run of white space one space.

    A text that has no letter and no digit stays as it is, but for case and white space.
    """
    plain = texts.str.to_lowercase()
    # Signs first: of most texts with a dash or a quote beyond ASCII nothing is left that has another width.
    kept = collapse(where_not_ascii(_telling(plain), _one_width))
    empty = (kept == "").fill_null(False).arg_true()
    return kept.clone().scatter(empty, collapse(plain.gather(empty))) if len(empty) else kept


def _telling(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(r"[^\p{L}\p{M}\p{N}\s]+", "")


def _one_width(texts: pl.Series) -> pl.Series:
    return _telling(texts.str.normalize("NFKC").str.to_lowercase()).str.replace_all("ß", "ss", literal=True)


def single_chars(texts: pl.Series) -> pl.Series:
    """Characters of each text in words of one letter, with the marks and the punctuation on them."""
    marked = _marked(texts)
    signs = marked.str.count_matches(_BEFORE, literal=True).cast(pl.Int64)
    gone = where_not_ascii(marked, lambda some: some.str.replace_all(_BETWEEN, ""))
    return marked.str.len_chars().cast(pl.Int64) - gone.str.len_chars().cast(pl.Int64) - 2 * signs


def spaceless(texts: pl.Series) -> pl.Series:
    """Whether each text has a letter of a script without spaces."""
    return texts.str.contains(_LETTER)


def where_not_ascii(texts: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The texts, those changed that have a character beyond ASCII."""
    rows = (texts.str.len_bytes() != texts.str.len_chars()).fill_null(False).arg_true()
    return texts.clone().scatter(rows, change(texts.gather(rows))) if len(rows) else texts


def _marked(texts: pl.Series) -> pl.Series:
    """The texts with `_BEFORE` and `_AFTER` (of an alphabet `_AFTER_ALPHABETIC`) around every word of one letter."""

    def mark(some: pl.Series) -> pl.Series:
        rows = some.str.contains(_IDEOGRAPH).fill_null(False).arg_true()
        marked = some.gather(rows).str.replace_all(_OF_IDEOGRAPH, f"{_BEFORE}${{0}}{_AFTER}")
        some = some.clone().scatter(rows, marked)
        rows = some.str.contains(_ALPHABETIC_LETTER).fill_null(False).arg_true()
        marked = some.gather(rows).str.replace_all(_OF_LETTER, f"{_BEFORE}${{0}}{_AFTER_ALPHABETIC}")
        return some.clone().scatter(rows, marked)

    return where_not_ascii(texts, mark)


def mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64: every bit of the input changes half of the output's."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _powers(base: int, count: int) -> Hashes:
    factors = np.full(count, base, dtype=np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)


def collapse(texts: pl.Series) -> pl.Series:
    """Every run of white space becomes one space; none at the ends."""
    # Single spaces, nearly all there is, are left alone: it takes half the time of replacing every run.
    return texts.str.replace_all(r"\s{2,}|[^\S ]", " ").str.strip_chars(" ")


def plain_spaces(texts: pl.Series) -> pl.Series:
    """Every white-space character beyond ASCII becomes a space."""
    return texts.str.replace_all(_WIDE_SPACE, " ")


def word_hashes(texts: pl.Series) -> Runs:
    """Hash every word; of white space only that of ASCII is seen (see `plain_spaces` and `collapse`)."""
    joined = (pl.select(_marked(texts.fill_null("")) + " ").to_series()) if len(texts) else texts
    sizes = joined.str.len_bytes().to_numpy().astype(np.int64)
    data = np.frombuffer("".join(joined.to_list()).encode(), dtype=np.uint8)
    ends = np.flatnonzero(_SPACES[data])
    begins = np.concatenate(([0], ends + 1))[:-1]
    real = ends > begins
    begins, ends = begins[real], ends[real]
    hashes = np.empty(len(ends), np.uint64)
    first = 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, begins[first] + _BLOCK, side="right")))
        low, high = begins[first], ends[last - 1]
        hashes[first:last] = _hash(data[low:high], begins[first:last] - low, ends[first:last] - low)
        first = last
    starts = np.searchsorted(ends, np.concatenate(([0], np.cumsum(sizes))))
    alphabetic = data[ends] == ord(_AFTER_ALPHABETIC)
    single = (data[ends] == ord(_AFTER)) | alphabetic
    return Runs(mix(hashes), starts.astype(np.int64), ends - begins, _any(single), _any(alphabetic))


def _any(mask: Mask) -> Mask | None:
    return mask if mask.any() else None


def _hash(data: NDArray[np.uint8], begins: Offsets, ends: Offsets) -> Hashes:
    powers, inverses = _powers_both_ways(max(_BLOCK, len(data)))
    values = data.astype(np.uint64)
    values += np.uint64(1)
    values *= powers[: len(data)]
    prefix = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(values, out=prefix[1:])
    hashes: Hashes = (prefix[ends] - prefix[begins]) * inverses[begins]
    return hashes


@lru_cache(maxsize=1)
def _powers_both_ways(count: int) -> tuple[Hashes, Hashes]:
    return _powers(_BASE, count), _powers(_BASE_INVERSE, count)


def word_bytes(words: Runs) -> Offsets:
    """Bytes of each document's words together."""
    assert words.sizes is not None
    ends = np.concatenate(([0], np.cumsum(words.sizes)))
    return np.diff(ends[words.starts])


def longest(words: Runs) -> Offsets:
    """Bytes of each document's longest word, 0 where there is none."""
    most = np.zeros(len(words.lengths), np.int64)
    if words.sizes is not None:
        np.maximum.at(most, words.owners, words.sizes)
    return most


def mostly_single(words: Runs) -> Mask:
    """Which documents are written without spaces: more than half of their words are single letters."""
    return 2 * singles(words) > words.lengths


def singles(words: Runs) -> Offsets:
    """How many words of each document are one letter of a script without spaces."""
    return _in_each(words, words.single)


def _in_each(words: Runs, mask: Mask | None) -> Offsets:
    if mask is None:
        return np.zeros(len(words.lengths), np.int64)
    return np.diff(np.concatenate(([0], np.cumsum(mask)))[words.starts])


def letters_per_word(words: Runs) -> Shares:
    """How many words of each document say as much as one of a script with spaces: 1, or of texts that are written
    without spaces `CHARACTERS` or `ALPHABETIC`, by what most of their letters are."""
    alphabetic = 2 * _in_each(words, words.alphabetic) > singles(words)
    return np.where(mostly_single(words), np.where(alphabetic, ALPHABETIC, CHARACTERS), 1.0)


def ngrams(words: Runs, size: int, characters: int | None = None) -> Runs:
    """Hash every run of `size` words; a document with fewer words has one n-gram, all of it (none if it is empty).

    In scripts without spaces a run has `characters` letters, `CHARACTERS` for each word if not given (runs that tell
    texts apart may be short); where both kinds of words mix, the shortest run that is as much: a word is 1 / size of
    it, a letter 1 / characters.
    """
    characters = characters or math.ceil(CHARACTERS * size)
    mixed = singles(words) > 0
    if mixed.all() or not mixed.any():
        return _ngrams(words, size, characters)
    # A few documents in such a script do not make the others take the longer way.
    lengths, parts = np.zeros(len(mixed), np.int64), []
    for chosen in (mixed, ~mixed):
        parts.append(_ngrams(_of(words, chosen), size, characters))
        lengths[chosen] = parts[-1].lengths
    values = np.empty(lengths.sum(), np.uint64)
    for chosen, part in zip((mixed, ~mixed), parts, strict=True):
        values[np.repeat(chosen, lengths)] = part.values
    return Runs(values, np.concatenate(([0], np.cumsum(lengths))))


def _of(words: Runs, chosen: Mask) -> Runs:
    """The words of some documents, without their sizes."""
    inside, lengths = np.repeat(chosen, words.lengths), words.lengths[chosen]
    single = None if words.single is None else _any(words.single[inside])
    return Runs(words.values[inside], np.concatenate(([0], np.cumsum(lengths))), single=single)


def _ngrams(words: Runs, size: int, characters: int) -> Runs:
    counts = words.lengths
    lasts = None if words.single is None else _lasts(words, words.single, size, characters)
    if lasts is None:
        grams = np.where(counts >= size, counts - size + 1, np.minimum(counts, 1))
    else:
        whole = np.diff(np.concatenate(([0], np.cumsum(lasts > 0)))[words.starts])
        grams = np.maximum(whole, np.minimum(counts, 1))
    starts = np.concatenate(([0], np.cumsum(grams)))
    firsts = np.arange(starts[-1]) + np.repeat(words.starts[:-1] - starts[:-1], grams)
    if lasts is None:
        total = _of_one_length(words.values, size)[firsts]
    else:
        total = _between(words.values, firsts, np.maximum(lasts[firsts], firsts))
    short = np.flatnonzero((counts > 0) & ((counts < size) if lasts is None else (whole == 0)))
    if len(short):
        ends = np.cumsum(counts[short])
        begins = ends - counts[short]
        inside = np.arange(ends[-1]) + np.repeat(words.starts[short] - begins, counts[short])
        total[starts[short]] = _between(words.values[inside], begins, ends)
    return Runs(mix(total), starts)


def _of_one_length(values: Hashes, size: int) -> Hashes:
    """The polynomial of each run of `size` words, by its first."""
    rolled = np.zeros(len(values), np.uint64)
    for place, weight in enumerate(_powers(_BASE, size + 1)[1:]):
        rolled[: max(0, len(rolled) - place)] += values[place:] * weight
    return rolled


def _between(values: Hashes, firsts: Offsets, ends: Offsets) -> Hashes:
    """The polynomial of each run of words from the first up to, not including, its end."""
    powers, inverses = _powers(_BASE, len(values) + 1), _powers(_BASE_INVERSE, len(values) + 1)
    prefix = np.concatenate((np.zeros(1, np.uint64), np.cumsum(values * powers[1:])))
    found: Hashes = (prefix[ends] - prefix[firsts]) * inverses[firsts]
    return found


def _lasts(words: Runs, single: Mask, size: int, characters: int) -> Offsets:
    """By its first word, the end of the shortest run that is long enough; 0 where the document ends before."""
    weights = np.where(single, size, characters)
    before = np.concatenate(([0], np.cumsum(weights)))
    ends = np.searchsorted(before, before[:-1] + size * characters)
    return np.where(ends <= np.repeat(words.starts[1:], words.lengths), ends, 0)


def repeats(runs: Runs) -> Offsets:
    """How many of each document's hashes repeat an earlier one of the same document.

    Sorts document number and the hashes' upper bits as one integer; takes at most 2**20 documents.
    """
    owners = runs.owners
    keys = (owners.astype(np.uint64) << np.uint64(44)) | (runs.values >> np.uint64(20))
    keys.sort()
    again = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(44)
    return np.bincount(again.astype(np.int64), minlength=len(runs.lengths)).astype(np.int64)
