"""The report's part about data: the funnel, what was dropped and why, sources, the tokenizer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.artifact import Manifest
from tasks.corpus.funnel import DROPPING
from tasks.formats.document_files import DOCUMENTS_FILE, REJECTS_FILE, UNREADABLE_FILE
from tasks.formats.licence_counts import by_licence
from tasks.formats.model_folder import TOKENIZER_FILE
from tasks.views.run_data import Run

EXAMPLES, EXCERPT, SEARCHED = 3, 320, 20_000
"""Examples of each reason, characters of each, and rows of a shard that are searched for them."""
SOURCES_SHOWN, REASONS = 60, 10


@dataclass(frozen=True)
class Example:
    """A document, or a row of a file, that was dropped."""

    stage: str
    reason: str
    text: str
    where: str
    detail: str


def examples(run: Run) -> dict[tuple[str, str], list[Example]]:
    """Some dropped documents of each (stage, reason), the most frequent reasons of a stage, and those first."""
    found = _unreadable(run)
    for step, name in DROPPING.items():
        wanted: Counter[str] = Counter()
        for manifest in run.of(step):
            for part in manifest.stats.get("parts", {}).values():
                wanted.update(part.get("reasons", {}))
        wanted = Counter(dict(wanted.most_common(REASONS)))
        found |= {(name, reason): [] for reason, _ in wanted.most_common()}
        for manifest in run.of(step):
            short = {reason for reason in wanted if len(found[name, reason]) < EXAMPLES}
            for row in _rejects(run, manifest, short):
                where = " · ".join(str(row[field]) for field in ("source", "uri", "part") if row.get(field))
                text = _excerpt(str(row.get("text") or ""))
                _keep(found, Example(name, str(row["reason"]), text, where, str(row.get("detail") or "")))
    return {place: some for place, some in found.items() if some}


def _unreadable(run: Run) -> dict[tuple[str, str], list[Example]]:
    """Rows that could not be read; errors that differ in numbers or bytes only are one reason."""
    found: dict[tuple[str, str], list[Example]] = {}
    counted: Counter[str] = Counter()
    for manifest in run.of("fetch_shard"):
        for row in run.read_rows(manifest, f"aux/{UNREADABLE_FILE}"):
            said = str(row.get("reason"))
            reason = _blanked(said)
            counted[reason] += 1
            where, detail = f"{row.get('file')}, {row.get('position')}", said if said != reason else ""
            _keep(found, Example("collect", reason, "", where, detail))
    return {("collect", reason): found["collect", reason] for reason, _ in counted.most_common(REASONS)}


def _blanked(reason: str) -> str:
    return re.sub(r"\b0x[0-9a-fA-F]+|\\x[0-9a-fA-F]{2}|\d+", "…", reason)


def _rejects(run: Run, manifest: Manifest, wanted: set[str]) -> Iterator[dict[str, Any]]:
    """The first rejected rows of each wanted reason in one artifact."""
    here = {reason for part in manifest.stats.get("parts", {}).values() for reason in part.get("reasons", {})}
    left = dict.fromkeys(wanted & here, EXAMPLES)
    file = run.open(manifest, f"aux/{REJECTS_FILE}") if left else None
    if file is None:
        return
    import pyarrow.parquet as parquet

    table, seen = parquet.ParquetFile(file), 0
    names = [n for n in ("text", "source", "uri", "part", "reason", "detail") if n in table.schema_arrow.names]
    for batch in table.iter_batches(batch_size=500, columns=names):
        reasons = batch.column("reason").to_pylist()
        for n, reason in enumerate(reasons):
            if left.get(reason, 0) > 0:
                left[reason] -= 1
                yield batch.slice(n, 1).to_pylist()[0]
        seen += len(reasons)
        if not any(left.values()) or seen >= SEARCHED:
            return


def _keep(found: dict[tuple[str, str], list[Example]], example: Example) -> None:
    some = found.setdefault((example.stage, example.reason), [])
    if len(some) < EXAMPLES:
        some.append(example)


def _excerpt(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…"


def sources(run: Run) -> list[dict[str, Any]]:
    """Training documents by source and licence, the largest first; without clean ones those that were collected."""
    for step, path in (
        ("decontaminate_shard", f"content/train/{DOCUMENTS_FILE}"),
        ("fetch_shard", f"content/{DOCUMENTS_FILE}"),
    ):
        tables = (run.open(manifest, path) for manifest in run.of(step))
        counted = by_licence(table for table in tables if table is not None)
        if counted:
            total = sum(row["documents"] for row in counted)
            kinds = run.config.get("data", {}).get("sources", {})
            return [
                {**row, "share": row["documents"] / total, "kind": kinds.get(row["source"], {}).get("kind", "")}
                for row in sorted(counted, key=lambda row: -row["documents"])[:SOURCES_SHOWN]
            ]
    return []


def tokenizer(run: Run) -> dict[str, Any] | None:
    """Size, fertility by source, special and longest tokens, tokens of the corpus; None without a tokenizer."""
    found = run.of("train_tokenizer")
    if not found:
        return None
    stats = found[0].stats
    raw = run.read_json(found[0], f"content/{TOKENIZER_FILE}") or {}
    vocabulary = (raw.get("model") or {}).get("vocab") or {}
    if isinstance(vocabulary, list):  # unigram: [piece, score] each
        vocabulary = [piece for piece, _ in vocabulary]
    special = [token["content"] for token in raw.get("added_tokens", ())]
    plain = (token for token in vocabulary if token not in special and re.fullmatch(r"Ġ?[\x21-\x7e]+", token))
    words = [token.replace("Ġ", "␣") for token in plain]
    parts: Counter[str] = Counter()
    for manifest in run.of("tokenize_shard"):
        parts.update({name: int(part["tokens"]) for name, part in manifest.stats.get("parts", {}).items()})
    for manifest in run.of("repeat_shard"):
        parts["seen again"] += int(manifest.stats["tokens"])
    return {
        "vocab_size": stats.get("vocab_size"),
        "rows": _fertility(stats),
        "special": special,
        "longest": sorted(words, key=lambda word: (-len(word), word))[:24],
        "tokens": dict(parts),
    }


def _fertility(stats: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for source, row in stats.get("sources", {}).items():
        rows.append({"name": source, **row})
        spoken = stats.get("languages", {}).get(source, {})
        rows.extend({"name": f"{source}, {language}", **found} for language, found in spoken.items())
    return rows
