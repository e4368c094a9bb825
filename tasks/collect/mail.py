"""Mail as a reader sees it: the text of a message and its subject, whatever it was wrapped in (RFC 2045 to 2049)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.header import decode_header
from email.message import Message

from tasks.collect import charsets, text_formats, web
from tasks.collect.apart import TooSlow
from tasks.collect.text_formats import Row

FROM, TIME, YEAR = b"From ", re.compile(rb"\d:\d{2}"), re.compile(rb"\d{4}\s*$")
"""What is in the line before each message of an mbox file (RFC 4155); a line of a text that begins so has no time."""
QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
"""How a line of a message is written that would begin another one."""


def one(file: io.BufferedReader, limit: int, pages: web.Limits) -> Iterator[Row]:
    """The message in a file, as a row of its text and its title; one beyond the limit is a row with a reason."""
    raw = file.read(limit + 1)
    if len(raw) > limit:
        yield Row("file", None, f"holds {text_formats.beyond(limit)}", option=text_formats.SIZE)
    else:
        yield read(raw, "file", pages)


def many(file: io.BufferedReader, limit: int, pages: web.Limits) -> Iterator[Row]:
    """One row for each message of an mbox file; what is none is a row with a reason."""
    for number, raw in enumerate(messages(file, limit), 1):
        where = f"message {number}"
        if len(raw) > limit:
            yield Row(where, None, f"holds {text_formats.beyond(limit)}", option=text_formats.SIZE)
        else:
            yield read(QUOTED.sub(rb"\1", raw), where, pages)


def messages(file: io.BufferedReader, limit: int) -> Iterator[bytes]:
    """The bytes of each message, of one beyond the limit the first ones."""
    held, size, after_blank, begun = list[bytes](), 0, True, False
    while line := file.readline(1 << 20):
        if after_blank and _begins(line):
            if begun:
                yield b"".join(held)
            held, size, begun = [], 0, True
        else:
            begun = True
            if size <= limit:
                held.append(line)
            size += len(line)
        after_blank = not line.strip()
    if begun:
        yield b"".join(held)


def _begins(line: bytes) -> bool:
    time = TIME.search(line) if line.startswith(FROM) else None
    return time is not None and YEAR.search(line, time.end()) is not None


MOST_LINES, MOST_PARTS = 2_000_000, 50_000
"""Lines of one message, each an object of its own while it is parsed, and those that may begin a part, far larger."""


def read(raw: bytes, where: str, pages: web.Limits) -> Row:
    """A message's text, with its subject as the title; attachments are counted and left out.

    A message of very many lines or parts, or with a page beyond the limits, is a row with a reason.
    """
    lines, parts = raw.count(b"\n"), raw.count(b"\n--")
    if lines > MOST_LINES or parts > MOST_PARTS:
        counted = f"{lines:,} lines, more than {MOST_LINES:,}" if lines > MOST_LINES else f"{parts:,} parts"
        return Row(where, None, f"has {counted}: take it out, or save what it holds as files")
    message = message_from_bytes(raw, policy=policy.compat32)
    if not message.keys():
        return Row(where, None, "is no mail: it has no header")
    try:
        texts, attachments = _texts(message, pages)
    except (TooSlow, web.TooLarge) as error:
        return web.set_aside(Row(where, None), error)
    values = {"text": "\n\n".join(text.strip("\n") for text in texts if text.strip()), "title": _subject(message)}
    return Row(where, values, given=True, attachments=attachments)


def _subject(message: Message) -> str:
    """The subject with its encoded words read (RFC 2047), in one line."""
    pieces = decode_header(message.get("subject", ""))
    words = [piece if isinstance(piece, str) else _decoded(piece, charset) for piece, charset in pieces]
    return " ".join("".join(words).split())


def _texts(part: Message, pages: web.Limits) -> tuple[list[str], int]:
    """The texts of a part in their order, and how many attachments it has."""
    kind = part.get_content_type()
    parts = [inner for inner in part.get_payload() if isinstance(inner, Message)] if part.is_multipart() else []
    found = [_texts(inner, pages) for inner in parts]
    attached = sum(count for _, count in found)
    if kind == "multipart/alternative":
        told = [at for at, (texts, _) in enumerate(found) if any(text.strip() for text in texts)]
        plain = [at for at in told if parts[at].get_content_type() == "text/plain"]
        return [text for at in (plain or told)[:1] for text in found[at][0]], attached
    if kind.startswith("multipart/") or (parts and _is_shown(part)):
        return [text for texts, _ in found for text in texts], attached
    if kind not in ("text/plain", "text/html") or part.get_content_disposition() == "attachment":
        return [], 1
    raw = part.get_payload(decode=True)
    text = _decoded(raw if isinstance(raw, bytes) else b"", part.get_content_charset())
    return [web.extracted(text, pages, _of_page) if kind == "text/html" else text.replace("\r\n", "\n")], 0


def _is_shown(part: Message) -> bool:
    """A message in a message that is shown with it, not attached."""
    return part.get_content_type() == "message/rfc822" and part.get_content_disposition() != "attachment"


def _decoded(raw: bytes, charset: str | None) -> str:
    """Bytes in the encoding that is named, if it fits them, else in the one that they seem to be in."""
    known = web.text_encoding(charset) if charset else None
    for name in (known, "utf-8" if not charset else None):
        try:
            if name:
                return raw.decode(name)
        except UnicodeDecodeError:
            pass
    return raw.decode(charsets.guess(raw).name, errors="replace")


def _of_page(html: str) -> str:
    """What a mail in HTML says: of short ones trafilatura finds no main text, and all of it is taken."""
    import trafilatura

    html = html if "<body" in html.lower() else f"<html><body>{html}</body></html>"
    found = trafilatura.extract(html, include_comments=False, deduplicate=False)
    return found or trafilatura.html2txt(html, clean=True)
