"""Web pages: the encoding that they name, and their main text, as trafilatura finds it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from conf.schema.source import AUTO
from tasks.collect import charsets, text_formats
from tasks.collect.apart import Apart, TooSlow
from tasks.collect.text_formats import Row

CHARSET = re.compile(rb"charset\s*+=\s*+[\"']?\s*+([\w.:-]+)", re.IGNORECASE)
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


class TooLarge(ValueError):
    """A page of more characters than are looked through."""


@dataclass(frozen=True)
class Limits:
    """What looking for the main text of one page may take: trafilatura's time may grow with the square of a page."""

    mb: float
    """Millions of characters."""
    seconds: float
    """Of a processor."""


def main_text(row: Row, limits: Limits) -> Row:
    """A row whose field "text" is a page's HTML, with its main text in place of it; empty where it has none.

    A page beyond the limits is a row with a reason.
    """
    if row.values is None:
        return row
    try:
        return replace(row, values={"text": extracted(row.values["text"], limits, _extract)})
    except (TooSlow, TooLarge) as error:
        return set_aside(row, error)


def set_aside(row: Row, error: TooSlow | TooLarge) -> Row:
    """A row for a page beyond the limits."""
    slow = isinstance(error, TooSlow)
    why, option = ("too_slow", text_formats.PAGE_TIME) if slow else ("too_large", text_formats.PAGE_SIZE)
    return replace(row, values=None, reason=f"its page {error}: raise {option}", option=option, beyond=why)


def extracted(html: str, limits: Limits, extract: Callable[[str], str]) -> str:
    """What a function finds in a page; raises `TooSlow` or `TooLarge`, and what the function raises."""
    import trafilatura  # noqa: F401  before the process is forked, so that it has it

    if len(html) > limits.mb * 1e6:
        raise TooLarge(f"has {len(html) / 1e6:.1f} million characters, more than {limits.mb:g}")
    if extract not in _APART:
        _APART[extract] = Apart(extract)
    return _APART[extract](html, limits.seconds)


_APART: dict[Callable[[str], str], Apart] = {}
"""One process for each way to look at a page."""


def _extract(html: str) -> str:
    import trafilatura

    # its own deduplication remembers earlier pages, which would make a page's text depend on what was read before
    return trafilatura.extract(html, include_comments=False, deduplicate=False) or ""
