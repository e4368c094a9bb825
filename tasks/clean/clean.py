"""Clean the documents of a shard: repair, scrubbing, languages, quality rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from conf.schema.clean import CleanConf
from conf.schema.rules import RulesConf
from tasks.clean.filtering import sift
from tasks.clean.lines import edit_lines
from tasks.clean.moved_spans import moved
from tasks.clean.normalise import normalise
from tasks.clean.patience import TOO_LONG, TOO_SLOW, Patience
from tasks.clean.pii import scrub
from tasks.clean.rules import judge
from tasks.formats.documents import LANGUAGE, MESSAGES, PARTS
from tasks.text import targets

REPEATED = "repeated_id"
"""Reason of a document whose id came before in the same part: the same raw text from the same source."""


class Cleaner:
    """Cleans batches of one part and counts repairs, placeholders and lines taken out."""

    def __init__(self, conf: CleanConf) -> None:
        self.conf = conf
        self.repaired = 0
        self.placeholders: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        self._seen: set[str] = set()

    def clean(self, batch: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The cleaned documents that pass, and the whole batch's rows that do not, with reason and detail."""
        long = batch["text"].str.len_chars() > self.conf.max_characters
        kept, dropped = self._clean(batch.filter(~long))
        detail = pl.format(f"{{}} characters > {self.conf.max_characters}", pl.col("text").str.len_chars())
        too_long = batch.filter(long).with_columns(pl.lit(TOO_LONG).alias("reason"), detail.alias("detail"))
        return kept, pl.concat([dropped, too_long])

    def _clean(self, batch: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        pieces, patience = _pieces(batch), Patience(self.conf.max_seconds)
        texts, repaired = normalise(pieces["piece"], self.conf.normalise, patience)
        texts = self._scrub(texts, patience)
        pieces = self._edit(pieces.with_columns(texts.alias("piece")), batch["source"])
        cleaned = self._identify(_reassemble(batch, pieces))
        slow = pieces["row"].gather(sorted(patience.given_up))
        if "targets" in batch.columns:
            said, too = self._clean_targets(batch, cleaned["text"])
            cleaned, slow = cleaned.with_columns(said), slow.append(too)
        slow = slow.unique()
        verdicts = _first_of(_too_slow(batch.height, slow, self.conf.max_seconds), self._judge(cleaned))
        kept = verdicts["reason"].is_null()
        self.repaired += repaired
        columns = [*batch.columns, *(LANGUAGE if self.conf.language else ())]
        return cleaned.filter(kept).select(columns), pl.concat([batch, verdicts], how="horizontal").filter(~kept)

    def _clean_targets(self, batch: pl.DataFrame, texts: pl.Series) -> tuple[pl.Series, pl.Series]:
        """What is said of the texts, which are `texts` now: spans moved with them, other texts repaired and scrubbed;
        and the rows whose texts took too long."""
        found, slow = [targets.read(said) for said in batch["targets"]], list[int]()
        for meaning in targets.TEXTS:
            rows, patience = [row for row, said in enumerate(found) if meaning in said], Patience(self.conf.max_seconds)
            said = pl.Series([found[row][meaning] for row in rows], dtype=pl.String)
            said, repaired = normalise(said, self.conf.normalise, patience)
            self.repaired += repaired
            for row, text in zip(rows, self._scrub(said, patience), strict=True):
                found[row][meaning] = text
            slow += [rows[number] for number in sorted(patience.given_up)]
        patience, nothing = Patience(self.conf.max_seconds), list[list[Any]]()
        for row, (before, after) in enumerate(zip(batch["text"], texts, strict=True)):
            if "spans" in found[row] and before != after:
                found[row]["spans"] = patience(row, nothing, moved, found[row]["spans"], before, after)
        slow += sorted(patience.given_up)
        kept = [targets.write(one) if one else None for one in found]
        return pl.Series("targets", kept, dtype=pl.String), pl.Series(slow, dtype=pl.get_index_type())

    def _scrub(self, texts: pl.Series, patience: Patience) -> pl.Series:
        texts, placeholders = scrub(texts, self.conf.pii, self.conf.phone_regions, patience)
        self.placeholders.update(placeholders)
        if self.conf.names:
            from tasks.clean.names import scrub_names

            texts, placeholders = scrub_names(texts, self.conf.names)
            self.placeholders.update(placeholders)
        return texts

    def _rules(self, source: object, lang: object = None) -> RulesConf:
        rules = self.conf.rules_by_language.get(str(lang), self.conf.rules)
        return self.conf.rules_by_source.get(str(source), rules)

    def _edit(self, pieces: pl.DataFrame, sources: pl.Series) -> pl.DataFrame:
        if pieces.is_empty() or not any(self._rules(source).lines for source in sources.unique()):
            return pieces
        groups = []
        rows = pieces.with_columns(sources.gather(pieces["row"]).alias("source")).with_row_index("place")
        for (source,), group in rows.group_by("source", maintain_order=True):
            if conf := self._rules(source).lines:
                texts, removed = edit_lines(group["piece"], conf)
                group = group.with_columns(texts)
                self.lines.update(removed)
            groups.append(group)
        return pl.concat(groups).sort("place").select(pieces.columns)

    def _identify(self, cleaned: pl.DataFrame) -> pl.DataFrame:
        if not self.conf.language:
            return cleaned
        from tasks.clean.languages import identify

        return pl.concat([cleaned, identify(cleaned["prose"])], how="horizontal")

    def _judge(self, cleaned: pl.DataFrame) -> pl.DataFrame:
        if cleaned.is_empty():
            return pl.DataFrame(schema={"reason": pl.String, "detail": pl.String})
        groups = []
        rows, by = cleaned.with_row_index("row"), ["source", *(["lang"] if self.conf.rules_by_language else ())]
        for (source, *lang), group in rows.group_by(by, maintain_order=True):
            verdict = judge(group["prose"], group["turns"], self._rules(source, *lang))
            groups.append(verdict.with_columns(group["row"]))
        verdicts = pl.concat(groups).sort("row").select("reason", "detail")
        if self.conf.language:
            from tasks.clean.languages import judge_language

            verdicts = _first_of(judge_language(cleaned, self.conf.language), verdicts)
        again = pl.Series([not self._first(id_) for id_ in cleaned["id"]], dtype=pl.Boolean)
        repeated = {"reason": REPEATED, "detail": "the same text of the same source came before"}
        return verdicts.select(
            pl.when(again).then(pl.lit(value)).otherwise(name).alias(name) for name, value in repeated.items()
        )

    def _first(self, id_: str) -> bool:
        new = id_ not in self._seen
        self._seen.add(id_)
        return new


def _too_slow(height: int, rows: pl.Series, seconds: float) -> pl.DataFrame:
    """The columns reason and detail of a batch in which some rows took too long."""
    slow = pl.int_range(height, dtype=pl.get_index_type(), eager=True).is_in(rows.implode())
    detail = f"took more than {seconds:g} s of a processor"
    return pl.select(
        pl.when(slow).then(pl.lit(value)).otherwise(None).alias(name)
        for name, value in (("reason", TOO_SLOW), ("detail", detail))
    )


def _first_of(first: pl.DataFrame, then: pl.DataFrame) -> pl.DataFrame:
    """Of each row the first verdict, of those in `first` and `then`, that has a reason."""
    condemned = first["reason"].is_not_null()
    return pl.select(pl.when(condemned).then(first[name]).otherwise(then[name]).alias(name) for name in first.columns)


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
    """Clean all parts of a shard; returns counts per part, repaired texts, placeholders per kind, lines per rule."""
    cleaners = {part: Cleaner(conf) for part in PARTS}
    added = LANGUAGE if conf.language else None
    stats = sift(docs, out, rejects, ((part, cleaner.clean) for part, cleaner in cleaners.items()), added)
    kinds = (*conf.pii, *(conf.names.kinds if conf.names else ()))
    placeholders = {kind: sum(cleaner.placeholders[kind] for cleaner in cleaners.values()) for kind in kinds}
    lines = sum((cleaner.lines for cleaner in cleaners.values()), Counter())
    repaired = sum(cleaner.repaired for cleaner in cleaners.values())
    return {**stats, "repaired": repaired, "placeholders": placeholders, "lines_removed": dict(sorted(lines.items()))}
