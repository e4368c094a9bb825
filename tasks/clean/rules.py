"""Quality rules: each gives a reason and a detail to the documents that it condemns.

From Gopher (Rae et al. 2021, table A1), C4 (Raffel et al. 2020) and FineWeb (Penedo et al. 2024); the papers'
thresholds stand in conf/rules, beside ours in `RulesConf`. Where the papers leave room, the measures are those of
datatrove's filters, with these differences: words are runs of non-space characters, where datatrove's tokenizer makes
punctuation, and each = of an underline, a word of its own; lines and paragraphs without a letter or digit are not
looked at; a bullet may also be a star or a number; stop words also count with a capital; a sentence ends where a
capital, a digit or a letter without case follows the full stop; shares of n-grams are of the text without indentation,
what occurs once is no top n-gram, and every word of a repeated n-gram counts, where datatrove leaves out what overlaps.

In scripts without spaces a word is one letter (`tasks.text.words`). Of texts that are mostly written so no mean length
of words is taken, and n-grams have as many letters as say as much.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from conf.schema.rules import RulesConf
from tasks.clean.signs import BULLET, ELLIPSIS, ENDS, SENTENCE
from tasks.text.words import (
    Runs,
    Shares,
    count,
    longest,
    ngrams,
    plain_spaces,
    repeats,
    single_chars,
    singles,
    spaceless,
    spread,
    word_bytes,
    word_hashes,
)

REPEATED_NGRAM = 5
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_VERDICT = pl.Struct({"reason": pl.String, "detail": pl.String})
_TEXT = pl.col("text")
_SPREAD = pl.col("spread")
"""The text with a space on both sides of every word."""
_WORDS = pl.col("words")
_LINES = pl.col("lines")
_PARAGRAPHS = pl.col("paragraphs")


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return part / pl.max_horizontal(whole, pl.lit(1))


def _chars(lines: pl.Expr) -> pl.Expr:
    return lines.list.eval(pl.element().str.len_chars()).list.sum()


def _line_share(pattern: str) -> pl.Expr:
    return _share(_LINES.list.eval(pl.element().str.contains(pattern)).list.sum(), _LINES.list.len())


def _mean_word() -> pl.Expr:
    """Characters of a word, of those that stand between spaces; null where most do not."""
    chars = _TEXT.str.len_chars() - pl.col("spaces") - pl.col("single_chars")
    return pl.when(2 * pl.col("singles") <= _WORDS).then(_share(chars, _WORDS - pl.col("singles")))


MEASURES: dict[str, pl.Expr] = {
    "words": _WORDS,
    "mean_word": _mean_word(),
    "longest_word": pl.col("longest_word"),
    "hash_ratio": _share(_TEXT.str.count_matches("#", literal=True), _WORDS),
    "ellipsis_ratio": _share(_TEXT.str.count_matches(ELLIPSIS), _WORDS),
    "bullet_lines": _line_share(BULLET),
    "ellipsis_lines": _line_share(rf"(?:{ELLIPSIS})\s*$"),
    "alpha_words": _share(_SPREAD.str.count_matches(r"[^\s\p{L}]*\p{L}\S*"), _WORDS),
    "sentences": _TEXT.str.count_matches(SENTENCE) + _LINES.list.len(),
    "stop_words": pl.col("stop_words"),
    "duplicate_lines": 1 - _share(_LINES.list.n_unique(), _LINES.list.len()),
    "duplicate_line_chars": 1 - _share(_chars(_LINES.list.unique()), _chars(_LINES)),
    "duplicate_paragraphs": _share(_PARAGRAPHS.list.len() - _PARAGRAPHS.list.n_unique(), _PARAGRAPHS.list.len()),
    "duplicate_paragraph_chars": _share(_chars(_PARAGRAPHS) - _chars(_PARAGRAPHS.list.unique()), _chars(_PARAGRAPHS)),
    "repeated_ngrams": pl.col("repeated_ngrams"),
    "line_punctuation": _line_share(rf"[{ENDS}]\s*$"),
    "short_lines": _share(_LINES.list.eval(pl.element().str.len_chars() <= 30).list.sum(), _LINES.list.len()),
    "newline_ratio": _share(_TEXT.str.count_matches("\n", literal=True), _WORDS),
    "replacement_chars": _share(_TEXT.str.count_matches("\ufffd", literal=True), _TEXT.str.len_chars()),
    "messages": pl.col("messages"),
}
"""What a rule looks at, by the rule's name without min_ or max_, over the columns of `_features`; null where the rule
has nothing to say."""
_OF_LINES = ("bullet_lines", "ellipsis_lines", "line_punctuation", "short_lines")
"""Measures that say something of a document with some lines only."""
_SETTINGS = ("published", "lines", "least_lines", "stop_words")
"""Fields of `RulesConf` that are no rule."""


def judge(prose: pl.Series, messages: pl.Series, conf: RulesConf) -> pl.DataFrame:
    """The columns reason and detail, one row for each text: the first broken rule in `RulesConf`'s order, or null.

    `prose` is the text without the names of roles; `messages` the number of messages, null unless a conversation.
    """
    frame = _features(prose, messages, conf)
    verdicts = [frame.select(_verdict(*rule, conf).alias("verdict")).to_series() for rule in _active(conf)]
    nobody = pl.Series("verdict", [None] * len(prose), dtype=_VERDICT)
    first = pl.select(pl.coalesce([*verdicts, nobody])).to_series()
    return first.struct.unnest()


def _active(conf: RulesConf) -> Iterator[tuple[str, Any]]:
    values = ((name, getattr(conf, name)) for name in type(conf).model_fields if name not in _SETTINGS)
    return ((name, value) for name, value in values if value is not None and value is not False and value != ())


def _verdict(name: str, threshold: Any, conf: RulesConf) -> pl.Expr:
    if name == "banned_phrases":
        found = _TEXT.str.to_lowercase().str.extract("(" + "|".join(map(re.escape, threshold)) + ")")
        return _condemn(name, found.is_not_null(), found)
    if name == "curly_brackets":
        return _condemn(name, _TEXT.str.contains("{", literal=True), pl.lit("{"))
    bound, _, measure = name.partition("_")
    if isinstance(threshold, dict):
        sizes = [
            _bounded(name, pl.col(f"{measure}_{size}"), bound, share, f"{size}: ") for size, share in threshold.items()
        ]
        return pl.coalesce([*sizes, pl.lit(None, _VERDICT)])
    value = MEASURES[measure]
    if measure in _OF_LINES and conf.least_lines:
        value = pl.when(_LINES.list.len() >= conf.least_lines).then(value)
    return _bounded(name, value, bound, threshold)


def _bounded(name: str, value: pl.Expr, bound: str, threshold: float, before: str = "") -> pl.Expr:
    broken, sign = (value < threshold, "<") if bound == "min" else (value > threshold, ">")
    shown = value.cast(pl.Float64).round(4).cast(pl.String).str.strip_suffix(".0")
    return _condemn(name, broken, pl.format(f"{before}{{}} {sign} {threshold}", shown))


def _condemn(name: str, broken: pl.Expr, detail: pl.Expr) -> pl.Expr:
    return pl.when(broken).then(pl.struct(pl.lit(name).alias("reason"), detail.alias("detail")))


def _features(prose: pl.Series, messages: pl.Series, conf: RulesConf) -> pl.DataFrame:
    """The columns that the rules of `conf` look at."""
    active = [name.partition("_")[2] for name, _ in _active(conf)]
    wanted = {column for name in active if name in MEASURES for column in MEASURES[name].meta.root_names()}
    features = pl.DataFrame({"text": prose, "messages": messages})
    telling = pl.element().filter(pl.element().str.contains(r"[\p{L}\p{N}]"))
    if "lines" in wanted:
        features = features.with_columns(_TEXT.str.split("\n").list.eval(telling).alias("lines"))
    if "paragraphs" in wanted:
        paragraphs = _TEXT.str.split(r"\n\s*\n", literal=False).list.eval(telling)
        features = features.with_columns(paragraphs.alias("paragraphs"))
    if "spread" in wanted:
        features = features.with_columns(spread(prose).alias("spread"))
    if "stop_words" in wanted:
        features = features.with_columns(_stop_words(prose, conf.stop_words or STOP_WORDS).alias("stop_words"))
    if wanted & {"spaces", "longest_word", "repeated_ngrams"} or {"top_ngrams", "duplicate_ngrams"} & set(active):
        features = features.with_columns(**_of_words(plain_spaces(prose), conf))
    elif "words" in wanted:
        features = features.with_columns(count(prose).alias("words"))
    return features


def _stop_words(prose: pl.Series, words: Sequence[str]) -> pl.Series:
    """How many different ones of some words each text has; in scripts without spaces they may stand anywhere."""
    spaced = ~spaceless(pl.Series(words, dtype=pl.String))
    patterns = [rf"\b{re.escape(word)}\b" if own else re.escape(word) for word, own in zip(words, spaced, strict=True)]
    found = prose.str.extract_all(f"(?i)(?:{'|'.join(patterns)})").to_frame("found")
    return found.select(pl.col("found").list.eval(pl.element().str.to_lowercase()).list.n_unique()).to_series()


def _of_words(spaced: pl.Series, conf: RulesConf) -> dict[str, Any]:
    words = word_hashes(spaced)
    columns: dict[str, Any] = {
        "words": words.lengths,
        "singles": singles(words),
        "single_chars": single_chars(spaced) if words.single is not None else np.zeros(len(spaced), np.int64),
        "spaces": spaced.fill_null("").str.len_bytes().to_numpy().astype(np.int64) - word_bytes(words),
        "longest_word": longest(words),
        **_ngram_shares(words, conf),
    }
    if conf.max_repeated_ngrams is not None:
        grams = ngrams(words, REPEATED_NGRAM)
        columns["repeated_ngrams"] = repeats(grams) / np.maximum(grams.lengths, 1)
    return {name: pl.Series(values) for name, values in columns.items()}


def _ngram_shares(words: Runs, conf: RulesConf) -> dict[str, Shares]:
    """Columns such as top_ngrams_2, of the sizes that there are rules about."""
    if not conf.max_top_ngrams and not conf.max_duplicate_ngrams:
        return {}
    from tasks.clean.repetition import duplicate_share, top_share

    top = {f"top_ngrams_{size}": top_share(words, size) for size in conf.max_top_ngrams or ()}
    return top | {f"duplicate_ngrams_{size}": duplicate_share(words, size) for size in conf.max_duplicate_ngrams or ()}
