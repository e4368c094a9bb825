"""Quality rules, single and in the sets that were published with Gopher, C4 and FineWeb."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from conf.schema.base import Conf
from tasks.core.errors import nearest

FOLDER = Path(__file__).parents[1] / "rules"
"""The published sets, one file each."""

_OF_LANGUAGE = "fineweb2_"

Shares = dict[int, float]


class LinesConf(Conf):
    """Rules that take lines out of a document before it is judged (C4); a blank line goes with the rest."""

    citations: bool = False
    """True removes [1], [edit] and [citation needed] (C4)."""
    max_word: int | None = Field(None, ge=1)
    """Longest word that a line may have, in characters (C4: 1000)."""
    terminal_punctuation: bool = False
    """True removes lines that do not end in . ! ? or a quote, or that end in '...' (C4)."""
    min_words: int | None = Field(None, ge=1)
    """Fewest words of a line (C4: 3)."""
    banned_phrases: tuple[str, ...] | None = None
    """Phrases, in lower case, that condemn a line (C4: javascript, privacy policy, ...)."""


class RulesConf(Conf):
    """Quality rules. A document that breaks one is dropped with the rule's name as reason; None turns a rule off.

    Written as a name or a list of names, `gopher` or `[gopher, fineweb]`, it is short for `published`.

    Words are runs of non-space characters, in scripts without spaces (Chinese, Japanese, Thai, …) single letters; rules
    about the length of words look at the former only. Shares are between 0 and 1.
    """

    published: tuple[str, ...] | None = None
    """Sets in conf/rules: all their rules, the stricter bound where two have one. A rule that is given beside them
    comes first; one that neither names is off, whatever its default."""
    lines: LinesConf | None = None
    """Lines that are taken out before the rest is judged."""
    least_lines: int | None = Field(5, ge=1)
    """Fewest lines of a document that the rules on shares of lines look at (bullets, ellipses, punctuation, short
    lines): one line is no list. The published sets know no such bound."""
    min_words: int | None = Field(8, ge=0)
    """Fewest words (Gopher: 50; lower here, since docstrings and chats are short)."""
    max_words: int | None = Field(100_000, ge=1)
    """Most words (Gopher: 100,000)."""
    min_mean_word: float | None = Field(2.5, ge=0)
    """Smallest mean word length in characters (Gopher: 3)."""
    max_mean_word: float | None = Field(14.0, ge=0)
    """Largest mean word length in characters (Gopher: 10; code and tables need more)."""
    max_longest_word: int | None = Field(1000, ge=1)
    """Longest word in UTF-8 bytes (C4: 1000 characters): encoded blobs."""
    max_hash_ratio: float | None = Field(0.1, ge=0)
    """Most '#' per word (Gopher: 0.1)."""
    max_ellipsis_ratio: float | None = Field(0.2, ge=0)
    """Most '...' or '…' per word (Gopher: 0.1; interactive examples use them as a prompt)."""
    max_bullet_lines: float | None = Field(0.9, ge=0, le=1)
    """Largest share of lines that start with a bullet (Gopher: 0.9)."""
    max_ellipsis_lines: float | None = Field(0.3, ge=0, le=1)
    """Largest share of lines that end with an ellipsis (Gopher: 0.3)."""
    min_alpha_words: float | None = Field(0.5, ge=0, le=1)
    """Smallest share of words with a letter (Gopher: 0.8; numeric examples need less)."""
    min_sentences: int | None = Field(None, ge=0)
    """Fewest sentences (C4: 5); a line has at least one."""
    min_stop_words: int | None = Field(None, ge=0)
    """Fewest different words out of `stop_words` (Gopher: 2), as their language's prose has them."""
    stop_words: tuple[str, ...] | None = None
    """The words of `min_stop_words`; null for Gopher's: the, be, to, of, and, that, have, with. The sets
    fineweb2_LANGUAGE have those of other languages."""
    max_duplicate_lines: float | None = Field(None, ge=0, le=1)
    """Largest share of lines that repeat an earlier line of the document (Gopher: 0.3). Off here: a dictionary's entry
    that names its source after each meaning is none the poorer; `max_duplicate_line_chars` sees how much it is."""
    max_duplicate_line_chars: float | None = Field(0.3, ge=0, le=1)
    """Largest share of characters in lines that repeat an earlier one (Gopher: 0.2)."""
    max_duplicate_paragraphs: float | None = Field(None, ge=0, le=1)
    """Largest share of paragraphs (set off by blank lines) that repeat an earlier one (Gopher: 0.3)."""
    max_duplicate_paragraph_chars: float | None = Field(None, ge=0, le=1)
    """Largest share of characters in paragraphs that repeat an earlier one (Gopher: 0.2)."""
    max_top_ngrams: Shares | None = None
    """For each number of words, the largest share of bytes in the n-gram that occurs most often (Gopher: 2 to 4 words,
    0.20 to 0.16); 1 is off."""
    max_duplicate_ngrams: Shares | None = None
    """For each number of words, the largest share of bytes in n-grams that repeat an earlier one, overlaps counted once
    (Gopher: 5 to 10 words, 0.15 to 0.10); 1 is off."""
    max_repeated_ngrams: float | None = Field(0.4, ge=0, le=1)
    """Largest share of word 5-grams that repeat an earlier one (after Gopher's duplicate 5-grams, by count)."""
    min_line_punctuation: float | None = Field(None, ge=0, le=1)
    """Smallest share of lines that end in . ! ? or a closing quote (FineWeb: 0.12); suits prose only."""
    max_short_lines: float | None = Field(None, ge=0, le=1)
    """Largest share of lines of 30 characters or fewer (FineWeb: 0.67); suits prose only."""
    max_newline_ratio: float | None = Field(None, ge=0)
    """Most line breaks per word (FineWeb: 0.3); suits prose only."""
    banned_phrases: tuple[str, ...] | None = ("lorem ipsum",)
    """Phrases, in lower case, that condemn a document (C4)."""
    curly_brackets: bool | None = None
    """True drops documents with '{' (C4); None keeps them, as code has them."""
    max_replacement_chars: float | None = Field(0.01, ge=0, le=1)
    """Largest share of characters that are U+FFFD, the mark of undecodable bytes."""
    min_messages: int | None = Field(2, ge=1)
    """Fewest messages of a conversation that are not empty after cleaning."""

    @model_validator(mode="before")
    @classmethod
    def _with_published(cls, given: Any) -> Any:
        if isinstance(given, (str, list, tuple)):
            given = {"published": given}
        if not isinstance(given, dict) or not given.get("published"):
            return given
        names = given["published"]
        names = [names] if isinstance(names, str) else list(names)
        named: dict[str, Any] = {}
        for name in names:
            named = _stricter(named, _published(str(name)))
        return _over({**dict.fromkeys(cls.model_fields), **named}, {**given, "published": names})

    @field_validator("max_top_ngrams", "max_duplicate_ngrams")
    @classmethod
    def _counts_words(cls, shares: Shares | None) -> Shares | None:
        for size, share in (shares or {}).items():
            if size < 1 or not 0 <= share <= 1:
                raise ValueError(f"{{{size}: {share}}} is not a number of words, 1 or more, and a share of 0 to 1")
        return shares


def languages() -> dict[str, str]:
    """The sets of FineWeb2 for single languages, by their codes."""
    return {name.removeprefix(_OF_LANGUAGE): name for name in published() if name.startswith(_OF_LANGUAGE)}


def published() -> list[str]:
    """The names of the sets that are shipped."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def _published(name: str) -> dict[str, Any]:
    import yaml

    if name not in published():
        raise ValueError(f"there is no set of rules {name!r}{nearest(name, published())}")
    rules: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return rules


def _stricter(one: Any, other: Any, name: str = "") -> Any:
    """The rules of both; the stricter bound, all phrases, the larger of min_ and the smaller of max_."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, dict):
        keys = dict.fromkeys([*one, *other])
        return {key: _stricter(one.get(key), other.get(key), key if isinstance(key, str) else name) for key in keys}
    if isinstance(one, list):
        return list(dict.fromkeys([*one, *other]))
    return max(one, other) if name.startswith("min_") or isinstance(one, bool) else min(one, other)


def _over(rules: Any, given: Any) -> Any:
    """The rules with what was given in their place; below lines and n-grams, only the entries that were given."""
    if not isinstance(rules, dict) or not isinstance(given, dict):
        return given
    sizes = any(isinstance(key, int) for key in rules)
    entries = {int(key) if sizes and str(key).isdigit() else key: value for key, value in given.items()}
    return {**rules, **{key: _over(rules.get(key), value) for key, value in entries.items()}}
