"""Clean the documents of a shard: repair, scrubbing, quality rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from conf.schema.clean import CleanConf
from tasks.clean.documents import MESSAGES, PARTS
from tasks.clean.normalise import normalise
from tasks.clean.pii import scrub
from tasks.clean.rules import judge
from tasks.clean.sieve import sift

REPEATED = "repeated_id"
"""Reason of a document whose id came before in the same part: the same raw text from the same source."""


class Cleaner:
    """Cleans batches of one part and counts repairs and placeholders."""

    def __init__(self, conf: CleanConf) -> None:
        self.conf = conf
        self.repaired = 0
        self.placeholders: Counter[str] = Counter()
        self._seen: set[str] = set()

    def clean(self, batch: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The cleaned documents that pass, and the whole batch's rows that do not, with reason and detail."""
        pieces = _pieces(batch)
        texts, repaired = normalise(pieces["piece"], self.conf.normalise)
        texts, placeholders = scrub(texts, self.conf.pii)
        cleaned = _reassemble(batch, pieces.with_columns(texts.alias("piece")))
        verdicts = self._judge(cleaned)
        kept = verdicts["reason"].is_null()
        self.repaired += repaired
        self.placeholders.update(placeholders)
        return cleaned.filter(kept).select(batch.columns), pl.concat([batch, verdicts], how="horizontal").filter(~kept)

    def _judge(self, cleaned: pl.DataFrame) -> pl.DataFrame:
        fresh = [self._first(id_) for id_ in cleaned["id"]]
        rows = cleaned.with_row_index("row").with_columns(pl.Series("fresh", fresh))
        groups = []
        for (source,), group in rows.group_by("source", maintain_order=True):
            rules = self.conf.rules_by_source.get(str(source), self.conf.rules)
            verdict = judge(group["prose"], group["turns"], rules)
            groups.append(verdict.with_columns(group["row"], group["fresh"]))
        repeated = pl.when("fresh").then("reason").otherwise(pl.lit(REPEATED)).alias("reason")
        detail = pl.when("fresh").then("detail").otherwise(pl.lit("the same text of the same source came before"))
        return pl.concat(groups).sort("row").select(repeated, detail.alias("detail"))

    def _first(self, id_: str) -> bool:
        new = id_ not in self._seen
        self._seen.add(id_)
        return new


def _pieces(batch: pl.DataFrame) -> pl.DataFrame:
    """One row for each message of a conversation, one for each other text: row, role, piece."""
    rows = batch.with_row_index("row")
    plain = rows.filter(pl.col("messages").is_null()).select("row", pl.lit(None, pl.String).alias("role"), piece="text")
    talks = rows.filter(pl.col("messages").is_not_null()).select("row", "messages")
    turns = talks.explode("messages").drop_nulls("messages").unnest("messages")
    return pl.concat([plain, turns.select("row", "role", piece="content")]).sort("row", maintain_order=True)


def _reassemble(batch: pl.DataFrame, pieces: pl.DataFrame) -> pl.DataFrame:
    """The batch with its cleaned text and messages, and the columns prose (text without roles) and turns."""
    turns = pieces.filter(pl.col("role").is_null() | (pl.col("piece").str.strip_chars() != ""))
    said = pl.when(pl.col("role").is_null()).then("piece").otherwise(pl.format("{}: {}", "role", "piece"))
    joined = turns.group_by("row").agg(
        said.str.join("\n").alias("text"),
        pl.col("piece").str.join("\n").alias("prose"),
        pl.struct("role", content="piece").alias("messages").cast(MESSAGES.inner),
        pl.len().alias("turns"),
    )
    talk = batch.with_row_index("row").select("row", pl.col("messages").is_not_null().alias("talk"))
    whole = talk.join(joined, on="row", how="left", maintain_order="left").select(
        pl.col("text", "prose").fill_null(""),
        pl.when("talk").then(pl.col("messages").fill_null([])).alias("messages"),
        pl.when("talk").then(pl.col("turns").fill_null(0)).alias("turns"),
    )
    return batch.with_columns(whole.get_columns())


def clean_parts(
    docs: Callable[[str], Path], out: Callable[[str], Path], rejects: Path, conf: CleanConf
) -> dict[str, Any]:
    """Clean all parts of a shard; returns counts per part, repaired texts and placeholders per kind."""
    cleaners = {part: Cleaner(conf) for part in PARTS}
    stats = sift(docs, out, rejects, ((part, cleaner.clean) for part, cleaner in cleaners.items()))
    placeholders = {kind: sum(cleaner.placeholders[kind] for cleaner in cleaners.values()) for kind in conf.pii}
    return {**stats, "repaired": sum(cleaner.repaired for cleaner in cleaners.values()), "placeholders": placeholders}
