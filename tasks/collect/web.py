"""Web pages: the encoding that they name, and their main text, as trafilatura finds it."""

from __future__ import annotations

import codecs
import re
from dataclasses import replace

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
    for bom, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if raw.startswith(bom):
            return raw.decode(encoding, errors="replace")
    for where in (content_type.encode(errors="replace"), raw[:HEAD]):
        named = CHARSET.search(where)
        known = _text_encoding(named[1].decode(errors="replace")) if named else None
        if known:
            return raw.decode(known, errors="replace")
    return raw.decode(otherwise, errors="replace")


def _text_encoding(name: str) -> str | None:
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
