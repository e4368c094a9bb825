"""Documentation of Debian packages as a corpus for benchmarks: at least 100 MB of text, nothing of it committed."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lxml.html
import polars as pl

from tasks.formats.documents import DOCUMENTS, TableWriter

PACKAGES = (
    "dict-foldoc", "dict-jargon", "fortunes", "linux-doc-6.1", "python3.11-doc", "perl-doc", "postgresql-doc-15",
    "git-doc", "libreoffice-help-en-us", "manpages", "manpages-dev", "debian-reference-en",
)  # fmt: skip
LENGTH = 3000
"""Characters of a document, about: files are cut at blank lines."""
LONGEST = 20 * LENGTH
"""Where no line is blank they are cut all the same: word lists of many MB are no documents."""


def make(folder: Path) -> Path:
    """docs.parquet with the texts of the packages, downloaded with apt-get and unpacked into `folder` if need be."""
    table = folder / "docs.parquet"
    if table.exists():
        return table
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=folder, check=True)
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, folder / "unpacked"], check=True)
    writing = folder / "docs.parquet.part"
    with TableWriter(writing, DOCUMENTS) as writer:
        for rows in _batches(folder / "unpacked"):
            writer.add(pl.DataFrame(rows, DOCUMENTS))
    writing.rename(table)
    return table


def _batches(folder: Path) -> Iterator[list[dict[str, str | None]]]:
    rows: list[dict[str, str | None]] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        for text in _pieces(_text(path)):
            about = {"text": text, "source": "debian", "uri": path.relative_to(folder).as_posix(), "licence": "various"}
            rows.append(
                {"id": hashlib.sha256(text.encode()).hexdigest()[:32], **about, "label": None, "messages": None}
            )
        if len(rows) > 5000:
            yield rows
            rows = []
    yield rows


def _text(path: Path) -> str:
    """The text of a file, nothing where it is none."""
    data = path.read_bytes()
    if path.suffix in (".gz", ".dz"):
        data = gzip.decompress(data)
    if b"\0" in data:
        return ""
    text = data.decode(errors="ignore")
    if path.suffix in (".html", ".htm") and text.strip():
        return "".join(str(part) for part in lxml.html.fromstring(data).itertext())
    return text


def _pieces(text: str) -> Iterator[str]:
    piece, size = [], 0
    for line in text.splitlines(keepends=True):
        if len(line) > LONGEST:  # packed data, no line of a text
            continue
        piece.append(line)
        size += len(line)
        if size >= LENGTH and (not line.strip() or size >= LONGEST):
            yield "".join(piece).strip()
            piece, size = [], 0
    if size and (last := "".join(piece).strip()):
        yield last
