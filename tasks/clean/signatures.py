"""MinHash signatures (Broder 1997) of the documents of a shard, and the hash of their exact normalised text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from conf.schema.clean import DedupConf
from tasks.core.events import Progress
from tasks.formats.documents import PARTS, TableWriter, read_batches
from tasks.formats.row_counts import rows_in
from tasks.text.words import Runs, bare, collapse, mix, ngrams, word_hashes

_BLOCK = 1 << 15
"""Shingles hashed at a time: they and their hashes stay in the processor's cache."""


def schema(conf: DedupConf) -> pl.Schema:
    """Columns of signatures.parquet: id, part, exact (hex), and the minimum of each hash function."""
    minhash = pl.Array(pl.UInt32, conf.bands * conf.rows)
    return pl.Schema([("id", pl.String()), ("part", pl.String()), ("exact", pl.String()), ("minhash", minhash)])


def normal_form(texts: pl.Series) -> pl.Series:
    """What two exact duplicates share: lower case, every run of white space one space."""
    return collapse(texts.str.to_lowercase())


def shingles(texts: pl.Series, conf: DedupConf) -> Runs:
    """Hashes of each text's shingles: of its bare words, so that punctuation and the like make no other ones."""
    return ngrams(word_hashes(bare(texts)), conf.shingle, conf.shingle_characters)


def exact_hash(text: str) -> str:
    """128-bit hash of a normalised text, in hex."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def minhash(shingles: Runs, conf: DedupConf) -> NDArray[np.uint32]:
    """The signatures, an array of documents by (bands * rows).

    Hash function k is (a_k * x + b_k) mod 2**32, a_k odd, on the upper 32 bits x of a mixed 64-bit shingle hash.

    A document without a shingle gets the largest value throughout.
    """
    hashes = conf.bands * conf.rows
    seeds = mix(np.arange(1, 2 * hashes + 1, dtype=np.uint64) + np.uint64(conf.seed << 32))
    factors = (seeds[:hashes] >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    shifts = (seeds[hashes:] >> np.uint64(32)).astype(np.uint32)
    values = (shingles.values >> np.uint64(32)).astype(np.uint32)
    out = np.full((hashes, len(shingles.lengths)), np.iinfo(np.uint32).max, np.uint32)
    filled = np.flatnonzero(shingles.lengths)
    starts = shingles.starts[:-1][filled]
    first = 0
    while first < len(filled):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + _BLOCK)))
        end = starts[last] if last < len(filled) else len(values)
        block, places = values[starts[first] : end], starts[first:last] - starts[first]
        hashed = np.empty_like(block)
        for k in range(hashes):
            np.multiply(block, factors[k], out=hashed)
            np.add(hashed, shifts[k], out=hashed)
            out[k, filled[first:last]] = np.minimum.reduceat(hashed, places)
        first = last
    return np.ascontiguousarray(out.T)


def sign(batch: pl.DataFrame, part: str, conf: DedupConf) -> pl.DataFrame:
    """Signatures of a batch of documents (columns id and text), in its order."""
    normal = normal_form(batch["text"])
    signatures = minhash(shingles(batch["text"], conf), conf)
    columns = {
        "id": batch["id"],
        "part": pl.Series([part] * batch.height, dtype=pl.String),
        "exact": pl.Series([exact_hash(text) for text in normal], dtype=pl.String),
        "minhash": pl.Series(signatures, dtype=schema(conf)["minhash"]),
    }
    return pl.DataFrame(columns)


def sign_parts(docs: Callable[[str], Path], out: Path, conf: DedupConf) -> dict[str, Any]:
    """Sign the documents of all parts, part by part, into one file; returns their number."""
    progress = Progress(rows_in(docs(part) for part in PARTS), "document")
    with TableWriter(out, schema(conf)) as writer:
        for part in PARTS:
            for batch in read_batches(docs(part), ["id", "text"]):
                writer.add(sign(batch, part, conf))
                progress.add(batch.height)
    return {"documents": writer.rows}
