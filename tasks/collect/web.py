"""Web pages: the encoding that they name, and their main text, as trafilatura finds it."""

from __future__ import annotations

import codecs
import re
from dataclasses import replace

from conf.schema.data import AUTO
from tasks.collect import charsets
from tasks.collect.formats import Row

CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
NOT_OF_PAGES = ("idna", "punycode", "unicode_escape", "raw_unicode_escape")
"""What Python counts among encodings of text beside those of pages."""
HEAD = 1024
"""Bytes of a page within which it names its encoding (HTML standard, 4.2.5.5)."""
BROWSERS = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
"""Encodings that are read as larger ones, as browsers do (WHATWG Encoding, 4.2)."""


def decoded(raw: bytes, content_type: str, otherwise: str) -> str:
    """A page's text, by its byte-order mark, HTTP header or <meta>, else `otherwise`; what does not fit is U+FFFD."""
    marked = next((name for mark, name in charsets.MARKS.items() if raw.startswith(mark)), None)
    found = marked or named(content_type.encode(errors="replace")) or named(raw[:HEAD]) or otherwise
    if found == AUTO:
        found = charsets.guess(raw).name
    return raw.decode("utf-8-sig" if found == "utf-8" else found, errors="replace")


def named(head: bytes) -> str | None:
    """The encoding that an HTTP header or the beginning of a page names, as Python does; None without one."""
    found = CHARSET.search(head)
    return text_encoding(found[1].decode(errors="replace")) if found else None


def text_encoding(name: str) -> str | None:
    """The encoding of text that a page or a mail names, as Python does; None if it is none."""
    try:
        known = codecs.lookup(name).name
        "".encode(known)  # codecs also knows base64 and the like, which are no encodings of text
    except (LookupError, UnicodeError):
        return None
    return None if known in NOT_OF_PAGES else BROWSERS.get(known, known)


def main_text(row: Row) -> Row:
    """A row whose field "text" is a page's HTML, with its main text in place of it; empty where it has none."""
    import trafilatura

    if row.values is None:
        return row
    # its own deduplication remembers earlier pages, which would make a page's text depend on what was read before
    found = trafilatura.extract(row.values["text"], include_comments=False, deduplicate=False)
    return replace(row, values={"text": found or ""})
