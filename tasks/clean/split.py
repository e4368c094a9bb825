"""Train, valid and test, by a salted hash of the raw text: the same text is in the same part wherever it turns up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from conf.schema.clean import SplitConf
from tasks.clean.documents import DOCUMENTS, PARTS, TableWriter, read_batches, row_bytes


def part_of(text: str, conf: SplitConf) -> str:
    """The part of a text: a uniform number from sha256(seed, text), compared with the shares."""
    digest = hashlib.sha256(f"{conf.seed}\0{text}".encode()).digest()
    uniform = int.from_bytes(digest[:8]) / 2**64
    return "test" if uniform < conf.test else "valid" if uniform < conf.test + conf.valid else "train"


def split(docs: Path, out: Callable[[str], Path], conf: SplitConf) -> dict[str, Any]:
    """Write each part's documents in the order of `docs` to `out(part)`; returns documents and bytes per part."""
    stats = {part: {"documents": 0, "bytes": 0} for part in PARTS}
    with ExitStack() as stack:
        writers = {part: stack.enter_context(TableWriter(out(part), DOCUMENTS)) for part in PARTS}
        for batch in read_batches(docs):
            chosen = pl.Series("part", [part_of(text, conf) for text in batch["text"]], dtype=pl.String)
            for part in PARTS:
                rows = batch.filter(chosen == part)
                writers[part].add(rows)
                stats[part]["documents"] += rows.height
                stats[part]["bytes"] += row_bytes(rows)
    return {"parts": stats}
