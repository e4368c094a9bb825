"""The file endings that can be read, and what to do about some that cannot."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

TABLES = (".parquet", ".arrow", ".feather")
"""Read by columns, from a file that can be sought in."""
PAGES = (".html", ".htm", ".xhtml")
"""Web pages, of which the main text is taken."""
DICTIONARY = ".dict"
"""Entries whose places are in an .index beside it."""
DOCUMENTS = (".txt", ".text", ".md", ".markdown", ".rst", DICTIONARY, *PAGES)
"""One document each; of a dictionary each entry."""
NO_INDEX = ".dict without its .index"
"""How dictionaries are counted that nothing says the entries of."""
MAIL = (".eml", ".mbox")
"""One message, and many."""
SEPARATED = {".csv": ",", ".tsv": "\t"}
"""Rows whose fields stand between such signs."""
TAGGED = (".conll", ".iob", ".iob2", ".bio")
"""A token and its tag on each line, blank lines between sentences."""
JSON = (".json", ".ndjson")
"""A list of objects, or one after another."""
WEB_ARCHIVE = ".warc"
"""What crawlers write: web pages with how they were had."""
FORMATS = (*DOCUMENTS, *MAIL, *SEPARATED, *TAGGED, ".jsonl", *JSON, *TABLES, WEB_ARCHIVE)
ARCHIVES = (".zip", ".tar")
"""Hold files of the formats above."""
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz", ".dz")
SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz"}
KNOWN = ", ".join((*FORMATS, *ARCHIVES)) + " (each also .gz, .zst, .bz2, .xz or .dz)"
OFFICE = "soffice --headless --convert-to txt:Text FILE"
CONVERT = {
    **dict.fromkeys((".docx", ".odt", ".epub", ".rtf", ".tex", ".org", ".adoc"), "pandoc -t plain FILE -o FILE.txt"),
    **dict.fromkeys((".doc", ".ppt", ".pptx", ".odp", ".xls", ".xlsx", ".ods"), OFFICE),
    ".pdf": "pdftotext FILE",
    ".djvu": "djvutxt FILE FILE.txt",
    ".mobi": "ebook-convert FILE FILE.txt",
    ".7z": "7z x FILE",
    ".rar": "unrar x FILE",
    ".ps": "ps2txt FILE FILE.txt",
}
"""What makes text of a file that holds some, but is not read."""
LIBRARIES = ("chardet", "pyarrow", "trafilatura", "warcio")
"""Distributions that shape what is read from files."""


def split(name: str) -> tuple[str, str] | None:
    """(format, compression or "") of a file name or URL, or None if its ending is not known; case does not matter.

    The last part of a URL need have none: it is a web page.
    """
    name = name.lower()
    if name.startswith(("http://", "https://")):
        name = urlsplit(name.partition("!")[0]).path + "".join(name.partition("!")[1:])
        name += "" if "." in name.rpartition("/")[2] else ".html"
    short = next((ending for ending in SHORT if name.endswith(ending)), None)
    name = name.removesuffix(short) + SHORT[short] if short else name
    compression = next((ending for ending in COMPRESSIONS if name.endswith(ending)), "")
    bare = name.removesuffix(compression)
    form = next((ending for ending in (*FORMATS, *ARCHIVES) if bare.endswith(ending)), None)
    return (form, compression) if form else None


def left_out(counts: Mapping[str, int], shown: int = 6) -> str:
    """Files that are not read, counted by ending, the most frequent first, and what makes text of those that hold some;
    empty if there are none.
    """
    kinds = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    said = ", ".join(f"{count:,} {ending}" for ending, count in kinds[:shown])
    more = sum(count for _, count in kinds[shown:])
    said += f" and {more:,} of {len(kinds) - shown} more endings" if more else ""
    ways = {CONVERT[ending]: ending for ending, _ in reversed(kinds) if ending in CONVERT}
    hints = "; ".join(f"{ending}: `{way}`" for way, ending in sorted(ways.items(), key=lambda one: one[1]))
    return said + (f" (text of them: {hints})" if hints else "")
