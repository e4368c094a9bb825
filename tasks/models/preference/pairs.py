"""Pairs of answers to one conversation, as documents have them and as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tasks.core.errors import DataError
from tasks.formats.documents import scanned
from tasks.text import targets
from tasks.text.encode import Encoder, Message, Refused, Rendered


@dataclass(frozen=True)
class Pair:
    """A conversation twice, with the better last answer and with the worse one."""

    id: str
    chosen: list[Message]
    rejected: list[Message]


@dataclass(frozen=True)
class Encoded:
    """The token ids of both, and where the last answer begins in each; what stands before is the same."""

    chosen: list[int]
    rejected: list[int]
    begin: int


def pairs_of(tables: Sequence[Path], sources: tuple[str, ...] = ()) -> list[Pair]:
    """The pairs in documents tables, in order of id: conversations that end with an answer, and have a worse one; those
    of equal answers are left out."""
    table = scanned(tables)
    if "targets" not in table.collect_schema().names():
        return []
    table = table.filter(pl.col("source").is_in(sources)) if sources else table
    held = table.filter(pl.col("messages").list.len() > 1, pl.col("targets").is_not_null())
    found = []
    for id_, messages, said in held.select("id", "messages", "targets").sort("id").collect().iter_rows():
        rejected, last = targets.read(said).get("rejected"), messages[-1]
        if rejected and rejected.strip() and last["role"] == "assistant" and rejected != last["content"]:
            found.append(Pair(id_, messages, [*messages[:-1], {**last, "content": rejected}]))
    return found


def encode(pairs: Sequence[Pair], encoder: Encoder) -> list[Encoded]:
    """Both sides of each pair as the chat template writes them; raises `DataError` naming one that it refuses, or
    writes in two ways before the answer."""
    both = [messages for pair in pairs for messages in (pair.chosen, pair.rejected)]
    try:
        rendered = encoder.conversations(both)
    except Refused as error:
        pair = pairs[error.number // 2]
        raise DataError(f"conversation {pair.id}: the chat template refuses it: {error}") from error
    return [_together(pair.id, *rendered[2 * n : 2 * n + 2]) for n, pair in enumerate(pairs)]


def _together(id_: str, chosen: Rendered, rejected: Rendered) -> Encoded:
    begins = {one.answers[-1][0] for one in (chosen, rejected)}
    begin = min(begins)
    if len(begins) > 1 or chosen.ids[:begin] != rejected.ids[:begin]:
        raise DataError(f"conversation {id_}: the chat template writes what stands before its two answers in two ways")
    return Encoded(chosen.ids, rejected.ids, begin)


def cut(one: Encoded, length: int) -> Encoded | None:
    """At most so many tokens of both sides, the beginning cut off; None where an answer leaves no room for it."""
    over = max(len(one.chosen), len(one.rejected)) - length
    if over <= 0:
        return one
    if over >= one.begin:
        return None
    return Encoded(one.chosen[over:], one.rejected[over:], one.begin - over)
