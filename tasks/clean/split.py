"""Train, valid and test, by a salted hash of the raw text: the same text is in the same part wherever it turns up.

What may not be taken in is left out here, before any side gets it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from conf.schema.clean import AdmitConf, SplitConf
from tasks.clean.admit import Admission, without_text
from tasks.clean.filtering import Passage, divide
from tasks.formats.documents import PARTS, REJECTS, TableWriter, read_batches, row_bytes, schema_of


def part_of(text: str, conf: SplitConf) -> str:
    """The part of a text: a uniform number from sha256(seed, text), compared with the shares."""
    digest = hashlib.sha256(f"{conf.seed}\0{text}".encode()).digest()
    uniform = int.from_bytes(digest[:8]) / 2**64
    return "test" if uniform < conf.test else "valid" if uniform < conf.test + conf.valid else "train"


def split(
    docs: Path,
    out: Callable[[str], Path],
    rejects: Path,
    conf: AdmitConf,
    taken: Collection[str] = (),
    failed: Sequence[str] = (),
) -> dict[str, Any]:
    """Write each part's documents in the order of `docs` to `out(part)`, those that are not admitted to `rejects`.

    `taken` are the ids of documents that were taken down, `failed` says why the whole shard is set aside, if it is.
    Returns counts per part, and how many documents have each licence of a list.
    """
    admission = Admission(conf.licences, taken, failed)
    with ExitStack() as stack:
        reject_writer = stack.enter_context(TableWriter(rejects, REJECTS))
        writers = {part: stack.enter_context(TableWriter(out(part), schema_of(docs))) for part in PARTS}
        passages = {part: Passage(part, writer, reject_writer) for part, writer in writers.items()}
        for batch in read_batches(docs):
            chosen = pl.Series("part", [part_of(text, conf.split) for text in batch["text"]], dtype=pl.String)
            judged = admission.judge(batch)
            for part, passage in passages.items():
                rows = judged.filter(chosen == part)
                kept, dropped = divide(rows)
                passage.let(kept, without_text(dropped), row_bytes(rows))
    return {"parts": {part: passage.stats() for part, passage in passages.items()}, **admission.stats()}
