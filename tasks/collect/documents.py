"""The documents table, written row group by row group."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.collect.charsets import Charset
from tasks.core.errors import DataError

GROUP_BYTES, GROUP_ROWS = 8_000_000, 10_000


class Documents:
    """Writes docs.parquet in the order in which documents are added, and unreadable.jsonl beside it.

    Columns: id (first 32 hex digits of sha256(source NUL text)), text, source, uri, licence, label, messages. One
    text is kept once; memory is one row group and 16 bytes for each document. The same documents give the same bytes.
    """

    def __init__(self, path: Path, unreadable: Path, source: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        message = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])
        names = ("id", "text", "source", "uri", "licence", "label")
        self._schema = pa.schema([*((name, pa.string()) for name in names), ("messages", pa.list_(message))])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", compression_level=3)
        self._unreadable, self._encodings = unreadable, unreadable.with_name("encodings.jsonl")
        self.source = source
        self._rows: list[tuple[Any, ...]] = []
        self._waiting = 0
        self._seen: set[bytes] = set()
        self.counts = {
            name: 0 for name in ("rows", "bytes", "conversations", "labelled", "repeated", "empty", "unreadable")
        }
        self.labels: dict[str, int] = {}
        self.encodings: dict[str, int] = {}
        """How many files are in which encoding, where that was decided file by file."""
        self.first_unreadable = ""

    def __enter__(self) -> Documents:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def add(
        self,
        text: str,
        uri: str,
        licence: str,
        label: str | None = None,
        messages: list[dict[str, str]] | None = None,
    ) -> None:
        """Add one document; an empty one, one that cannot be stored (both set aside) and a repeated one are counted."""
        wrong = _unfit(text) or next((found for m in messages or () if (found := _unfit(m["content"]))), None)
        if wrong or not text.strip():
            self.counts["empty"] += not wrong
            self.set_aside(uri, "text", wrong or "is empty", readable=not wrong)
            return
        raw = text.encode()
        digest = hashlib.sha256(self.source.encode() + b"\0" + raw).digest()[:16]
        if digest in self._seen:
            self.counts["repeated"] += 1
            return
        self._seen.add(digest)
        self._rows.append((digest.hex(), text, self.source, uri, licence, label, messages))
        self._count(len(raw), label, messages)
        if self._waiting >= GROUP_BYTES or len(self._rows) >= GROUP_ROWS:
            self._flush()

    def set_aside(self, file: str, position: str | int, reason: str, readable: bool = False) -> None:
        """Keep a note of a row that becomes no document; `readable` ones do not count against any limit."""
        if not readable:
            self.counts["unreadable"] += 1
            self.first_unreadable = self.first_unreadable or f"{file}, {position}: {reason}"
        with self._unreadable.open("a", encoding="utf-8", errors="backslashreplace") as notes:
            notes.write(json.dumps({"file": file, "position": position, "reason": reason}, ensure_ascii=False) + "\n")

    def note_encoding(self, file: str, charset: Charset) -> None:
        """Keep a note of the encoding that was decided on for a file."""
        self.encodings[charset.name] = self.encodings.get(charset.name, 0) + 1
        with self._encodings.open("a", encoding="utf-8") as notes:
            found = {"file": file, "encoding": charset.name, "confidence": round(charset.confidence, 4)}
            notes.write(json.dumps(found, ensure_ascii=False) + "\n")

    def finish(self, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The counts so far; raises `DataError`, naming the entries, if there is no document at all."""
        if not self.counts["rows"]:
            why = f" (first: {self.first_unreadable})" if self.first_unreadable else ""
            raise DataError(
                f"{named(entries)}: no document in it, {self.counts['empty']} empty and {self.counts['unreadable']} "
                f"unreadable rows{why}: fill it, or take it out of data.sources.{self.source}"
            )
        encodings = {"encodings": dict(sorted(self.encodings.items()))} if self.encodings else {}
        return {**self.counts, "labels": dict(sorted(self.labels.items())), **encodings}

    def _count(self, size: int, label: str | None, messages: list[dict[str, str]] | None) -> None:
        self._waiting += size
        self.counts["rows"] += 1
        self.counts["bytes"] += size
        self.counts["conversations"] += messages is not None
        if label is not None:
            self.counts["labelled"] += 1
            self.labels[label] = self.labels.get(label, 0) + 1

    def _flush(self) -> None:
        import polars as pl  # pyarrow would import pandas to look at a list

        message = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
        if self._rows:
            columns = dict(zip(self._schema.names, zip(*self._rows, strict=True), strict=True))
            frame = pl.DataFrame(columns, schema={**dict.fromkeys(columns, pl.String), "messages": message})
            self._writer.write_table(frame.to_arrow().cast(self._schema))
            self._rows, self._waiting = [], 0


def named(entries: Sequence[dict[str, Any]], shown: int = 3) -> str:
    """The first entries by name, and how many more there are."""
    names = [str(entry["uri"]) for entry in entries]
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _unfit(text: str) -> str | None:
    if "\0" in text:
        return "holds NUL bytes: it is no text, or its encoding is another one"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds half of a surrogate pair at character {error.start}"
    return None
