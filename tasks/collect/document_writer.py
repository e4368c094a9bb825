"""The documents table, written row group by row group."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.collect import endings
from tasks.collect.charsets import Charset
from tasks.core.errors import DataError
from tasks.core.number_format import plural
from tasks.core.run_warnings import told
from tasks.core.urls import bare
from tasks.formats.document_files import UNREADABLE_FILE
from tasks.text import targets
from tasks.text.targets import Targets

GROUP_BYTES, GROUP_ROWS = 8_000_000, 10_000
NOTES, LONGEST_NOTE = 256_000_000, 4_000
"""Bytes of all notes on rows that are set aside, and of what one says."""
SHOWN = 20
"""Unreadable rows, and as many files, that a message names."""
LONGEST_LABEL = 1_000
"""Letters of a label."""


class Documents:
    """Writes docs.parquet in the order in which documents are added, and unreadable.jsonl beside it.

    Columns: id (first 32 hex digits of sha256(source NUL text)), text, source, uri, licence, label, messages, and with
    `targets` what a model is to say of the text (`tasks.text.targets`). One text is kept once; memory is one row
    group and 16 bytes for each document. The same documents give the same bytes.
    """

    def __init__(self, path: Path, unreadable: Path, source: str, *, targets: bool = False) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        message = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])
        names = ("id", "text", "source", "uri", "licence", "label")
        more = [("targets", pa.string())] if targets else []
        self._schema = pa.schema([*((name, pa.string()) for name in names), ("messages", pa.list_(message)), *more])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", compression_level=3)
        self._unreadable, self._encodings = unreadable, unreadable.with_name("encodings.jsonl")
        self.source = source
        self._rows: list[tuple[Any, ...]] = []
        self._waiting = self._noted = 0
        self._seen: dict[bytes, str | None] = {}
        self.contradictions = 0
        self.counts = {
            name: 0 for name in ("rows", "bytes", "conversations", "labelled", "repeated", "empty", "unreadable")
        }
        self.labels: dict[str, int] = {}
        self.targets: Counter[str] = Counter()
        """Documents with a target, by its meaning."""
        self.encodings: dict[str, int] = {}
        """How many files are in which encoding, where that was decided file by file."""
        self.left_out: Counter[str] = Counter()
        """Files in archives that are not read, by ending."""
        self.beyond: Counter[tuple[str, str]] = Counter()
        """Documents set aside, by (why, option)."""
        self._first: dict[str, list[str]] = {"rows": [], "files": []}
        self._files: dict[str, set[str]] = {"rows": set(), "files": set()}
        self._options: Counter[str] = Counter()

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
        where: tuple[str, str] | None = None,
        said: Targets | None = None,
    ) -> None:
        """Add one document, with what a model is to say of it; an empty one, one that cannot be stored (both set aside)
        and a repeated one are counted.

        `where` is the file and the position in it that a note names; without it a note names the uri.
        """
        uri = bare(uri)
        kept = targets.write(said) if said else ""
        wrong = _unfit_column(text, uri, label, messages, kept)
        if wrong or not text.strip():
            self.counts["empty"] += not wrong
            self.set_aside(*(where or (uri, "text")), wrong or "is empty", readable=not wrong)
            return
        raw = text.encode()
        digest = hashlib.sha256(self.source.encode() + b"\0" + raw).digest()[:16]
        if digest in self._seen:
            self.counts["repeated"] += 1
            self.contradictions += None not in (label, self._seen[digest]) and label != self._seen[digest]
            return
        self._seen[digest] = label if label is None else sys.intern(label)
        more = (kept or None,) if "targets" in self._schema.names else ()
        self._rows.append((digest.hex(), text, self.source, uri, licence, label, messages, *more))
        self._count(len(raw), label, messages)
        self._waiting += len(kept)
        self.targets.update(said or ())
        self._waiting += len(uri) if len(uri) > LONGEST_LABEL else 0
        if self._waiting >= GROUP_BYTES or len(self._rows) >= GROUP_ROWS:
            self._flush()

    def set_aside(self, file: str, position: str | int, reason: str, readable: bool = False, option: str = "") -> None:
        """Keep a note of a row that becomes no document; `readable` ones do not count against any limit.

        `option` is what of the source may let it in.
        """
        file, reason = bare(file), bare(reason)[:LONGEST_NOTE]
        if not readable:
            self.counts["unreadable"] += 1
            self._note("rows", file, f"{file}, {position}: {reason}", option)
        self._write(file, position, reason)

    def leave_out(self, file: str, reason: str) -> None:
        """Keep a note of a file that cannot be read on; the documents before that stay."""
        file, reason = bare(file), bare(reason)[:LONGEST_NOTE]
        self._note("files", file, reason, "")
        self._write(file, "file", reason)

    def _write(self, file: str, position: str | int, reason: str) -> None:
        """Keep a note, as long as all together have no more than `NOTES` bytes; the counts go on."""
        note = json.dumps({"file": file, "position": position, "reason": reason}, ensure_ascii=False) + "\n"
        self._noted += len(note)
        if self._noted <= NOTES:
            with self._unreadable.open("a", encoding="utf-8", errors="backslashreplace") as notes:
                notes.write(note)

    def _note(self, kind: str, file: str, said: str, option: str) -> None:
        self._files[kind].add(file)
        if option:
            self._options[option] += 1
        if len(self._first[kind]) < SHOWN:
            self._first[kind].append(said)

    def check(self, max_bad_rows: int, max_bad_files: int = 0) -> None:
        """Raise `DataError` if more rows or files cannot be read than may be: names the first, counts all, and says
        which options let them in."""
        rows, files = self.counts["unreadable"], len(self._files["files"])
        if rows <= max_bad_rows and files <= max_bad_files:
            return
        named = self._first["files"] + self._first["rows"]
        counts, fixes = [], ["fix the data" if rows + files > 1 else "fix it"]
        fixes += [f"{option} may let {count:,} in" for option, count in self._options.items()]
        if rows:
            where = f" in {len(self._files['rows']):,} files" if len(self._files["rows"]) > 1 else ""
            counts.append(
                f"{plural(rows, 'unreadable row')}{where}; max_bad_rows of the source allows {max_bad_rows:,}"
            )
            fixes.append(f"max_bad_rows={rows} sets such rows aside")
        if files:
            counts.append(f"{plural(files, 'unreadable file')}; max_bad_files of the source allows {max_bad_files:,}")
            fixes.append(f"max_bad_files={files} leaves such files out from there on")
        more = rows + files - len(named)
        others = [*named[1:], *([f"and {more:,} more"] if more > 0 else [])]
        raise DataError(
            f"{named[0]} ({'; '.join(counts)}: {', or '.join(fixes)}; the source is data.sources.{self.source})"
            + "".join(f"\n  {one}" for one in others)
        )

    def note_encoding(self, file: str, charset: Charset) -> None:
        """Keep a note of the encoding that was decided on for a file."""
        self.encodings[charset.name] = self.encodings.get(charset.name, 0) + 1
        with self._encodings.open("a", encoding="utf-8") as notes:
            found = {"file": file, "encoding": charset.name, "confidence": round(charset.confidence, 4)}
            notes.write(json.dumps(found, ensure_ascii=False) + "\n")

    def finish(self, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The counts so far; raises `DataError`, naming the entries, if there is no document at all."""
        if not self.counts["rows"]:
            first = next(iter(self._first["files"] + self._first["rows"]), "")
            why = f" (first: {first})" if first else ""
            raise DataError(
                f"{named(entries)}: no document in it, {self.counts['empty']} empty and {self.counts['unreadable']} "
                f"unreadable rows{why}: fill it, or take it out of data.sources.{self.source}"
            )
        encodings = {"encodings": dict(sorted(self.encodings.items()))} if self.encodings else {}
        files = {"unreadable_files": len(self._files["files"])} if self._files["files"] else {}
        twice = {"contradictions": self.contradictions} if self.contradictions else {}
        warnings = {"warnings": found} if (found := list(self._warnings())) else {}
        labels = dict(sorted(self.labels.items()))
        said = {"targets": dict(sorted(self.targets.items()))} if self.targets else {}
        beyond = {why: count for (why, _), count in sorted(self.beyond.items()) if why}
        return {**self.counts, **beyond, **files, "labels": labels, **said, **encodings, **twice, **warnings}

    def _warnings(self) -> Iterator[dict[str, str]]:
        if left_out := endings.left_out(self.left_out):
            yield told(f"of the files in archives are not read: {left_out}")
        for (why, option), count in sorted(self.beyond.items()):
            if why:
                text = (
                    f"{plural(count, 'document')} set aside: {why.replace('_', ' ')} (aux/{UNREADABLE_FILE} names them)"
                )
                yield told(text, f"data.sources.{self.source}.{option}")
        if self.contradictions:
            text = f"{plural(self.contradictions, 'row')} with a text that has another label already; the first stays"
            yield told(text, f"correct the labels of data.sources.{self.source}")

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


def _unfit_column(
    text: str, uri: str, label: str | None, messages: list[dict[str, str]] | None, said: str
) -> str | None:
    """Why the first column that cannot be stored cannot; None if all can."""
    columns = [("text", text), ("address", uri), ("label", label or ""), ("targets", said)]
    columns += [(name, turn[name]) for turn in messages or () for name in ("role", "content")]
    for name, value in columns:
        if wrong := unfit(value):
            return wrong if name == "text" else f"its {name} {wrong}"
    if label and len(label) > LONGEST_LABEL:
        return f"its label has {len(label):,} letters, more than {LONGEST_LABEL:,}: it is a text (name another column)"
    return None


def unfit(text: str) -> str | None:
    """Why a text cannot be stored; None if it can."""
    if "\0" in text:
        return "holds NUL bytes: it is no text, or its encoding is another one"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds half of a surrogate pair at character {error.start}"
    return None
