"""The file endings that can be read."""

from __future__ import annotations

from urllib.parse import urlsplit

TABLES = (".parquet", ".arrow", ".feather")
"""Read by columns, from a file that can be sought in."""
PAGES = (".html", ".htm")
"""Web pages, of which the main text is taken."""
DOCUMENTS = (".txt", ".md", *PAGES)
"""One document each."""
WEB_ARCHIVE = ".warc"
"""What crawlers write: web pages with how they were had."""
FORMATS = (*DOCUMENTS, ".csv", ".tsv", ".jsonl", *TABLES, WEB_ARCHIVE)
ARCHIVES = (".zip", ".tar")
"""Hold files of the formats above."""
JSON = (".json", ".ndjson")
"""Of datasets alone: elsewhere most such files are settings and the like, no text."""
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz"}
KNOWN = ", ".join((*FORMATS, *ARCHIVES)) + " (each also .gz, .zst, .bz2 or .xz)"


def split(name: str, more: tuple[str, ...] = ()) -> tuple[str, str] | None:
    """(format, compression or "") of a file name or URL, or None if its ending is not known; case does not matter.

    `more` are endings that count as known beside those of `FORMATS` and `ARCHIVES`. The last part of a URL need have
    none: it is a web page.
    """
    name = name.lower()
    if name.startswith(("http://", "https://")):
        name = urlsplit(name.partition("!")[0]).path + "".join(name.partition("!")[1:])
        name += "" if "." in name.rpartition("/")[2] else ".html"
    short = next((ending for ending in SHORT if name.endswith(ending)), None)
    name = name.removesuffix(short) + SHORT[short] if short else name
    compression = next((ending for ending in COMPRESSIONS if name.endswith(ending)), "")
    bare, known = name.removesuffix(compression), (*FORMATS, *ARCHIVES, *more)
    form = next((ending for ending in known if bare.endswith(ending)), None)
    return (form, compression) if form else None
