"""Tokens with tags, one to a line, as CoNLL's shared tasks had them: blank lines between sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tasks.collect.text_formats import Row

BEGINS = "-DOCSTART-"
"""The token of a line that stands before a document, and is of none."""


def sentences(lines: Iterable[str]) -> Iterator[Row]:
    """One row {tokens, tags} for each sentence, at the line where it begins: of each line the first field and the last,
    between tabs if there is one, else between blanks. Lines that begin with # and a blank are remarks."""
    tokens: list[str] = []
    tags: list[str] = []
    begin, wrong = 0, ""
    number = 0
    for number, line in enumerate(lines, 1):
        plain = line.rstrip("\r\n")
        fields = plain.split("\t") if "\t" in plain else plain.split()
        if not plain.strip() or fields[0] == BEGINS:
            yield from _row(begin, tokens, tags, wrong)
            tokens, tags, wrong = [], [], ""
        elif not plain.startswith("# "):
            begin = begin if tokens or wrong else number
            if len(fields) < 2 or not fields[0].strip() or not fields[-1].strip():
                wrong = wrong or f"line {number} of it holds no token and tag"
            tokens.append(fields[0].strip())
            tags.append(fields[-1].strip())
    yield from _row(begin, tokens, tags, wrong)


def _row(begin: int, tokens: list[str], tags: list[str], wrong: str) -> Iterator[Row]:
    if wrong:
        yield Row(f"line {begin}", None, wrong)
    elif tokens:
        yield Row(f"line {begin}", {"tokens": tokens, "tags": tags})
