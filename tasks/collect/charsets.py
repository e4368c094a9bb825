"""Which encoding a file is in: by its mark, by being UTF-8, else as chardet finds, with how sure that is."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks, the longer ones before those that they begin with."""
CHUNK = 1 << 20
FIRST, LATER, MOST = 1 << 16, 1 << 12, 200_000
"""Bytes that are judged: of a file's first chunk, of each later one, and in all."""
AROUND = 2
"""Plain words on either side of one with other letters that are judged with it, for they tell the language."""
MOSTLY = 0.9
"""Share of the letters beyond ASCII that must be whole in UTF-8 for a file to be UTF-8 with faults."""
NEAR = 0.8
"""A candidate that fits the whole file is taken before the first one if it was at least so sure, as a share."""
USUAL = ("cp1252", "latin-1")
TIE = 0.001
"""Of several that are as likely, within so much, the usual one is taken."""
ESCAPES = b"\x1b$", b"\x1b(", b"~{"
"""What begins a change of alphabet in encodings that look like ASCII."""
OTHER, BLANK, BEFORE = re.compile(rb"[\x80-\xff]|\x1b[$(]|~{"), re.compile(rb"[ \n]"), 100
"""Where ASCII ends; between two words; bytes before the first that are judged with what follows."""
NAMES = [
    "ascii", "utf-8", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-32-le", "big5hkscs", "cp932",
    "cp949", "euc_kr", "euc_jis_2004", "shift_jis_2004", "gb18030", "iso2022_jp_2", "iso2022_jp_2004",
    "iso2022_jp_ext", "iso2022_kr", "hz", "cp874", "tis-620", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254",
    "cp1255", "cp1256", "cp1257", "cp1258", "koi8-r", "koi8-u", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-6",
    "iso8859-7", "iso8859-8", "iso8859-9", "iso8859-13", "iso8859-15", "iso8859-16", "cp850", "cp852", "cp866",
    "mac-cyrillic", "mac-roman",
]  # fmt: skip
"""Encodings that texts are met in; the rest of what chardet knows wins by chance more often than it is right."""


@dataclass(frozen=True)
class Charset:
    """An encoding as Python names it, and how sure it is, 0 to 1."""

    name: str
    confidence: float = 1.0

    def __str__(self) -> str:
        return self.name if self.confidence == 1 else f"{self.name} (confidence {self.confidence:.2f})"


UTF8 = Charset("utf-8")


def of(opened: Callable[[], AbstractContextManager[IO[bytes]]]) -> Charset:
    """The encoding of a file, which is read once, and once more if it is no UTF-8; `opened` opens it at its start.

    The same bytes give the same answer. A file of UTF-8 with a few faults is UTF-8. What is no text is UTF-8 too: its
    reader says why it cannot be read.
    """
    with opened() as file:
        settled, sample = _looked_through(file)
    if settled is not None:
        return settled
    found = ranked(sample)
    if len(found) == 1:
        return found[0]
    with opened() as file:
        fitting = _fitting(file, found)
    sure = [one for one in fitting if one.confidence >= NEAR * found[0].confidence]
    return sure[0] if sure else found[0]


def fits(opened: Callable[[], AbstractContextManager[IO[bytes]]], name: str) -> bool:
    """Whether the whole file decodes as that."""
    with opened() as file:
        return bool(_fitting(file, [Charset(name)]))


def guess(raw: bytes) -> Charset:
    """The encoding of bytes that are held in memory: a page, a part of a mail."""
    return of(lambda: io.BytesIO(raw))


def ranked(sample: bytes) -> list[Charset]:
    """Encodings that the bytes may be in, the likeliest first; never none."""
    import chardet

    found = chardet.detect_all(sample, compat_names=False, include_encodings=NAMES)
    known = [Charset(_named(str(one["encoding"]), sample), one["confidence"]) for one in found if one["encoding"]]
    first: dict[str, Charset] = {}
    usual = [one for one in known if one.name in USUAL and one.confidence > known[0].confidence - TIE]
    for one in usual + known:
        first.setdefault(one.name, one)
    return list(first.values()) or [UTF8]


def _named(name: str, sample: bytes) -> str:
    """As Python names it; of Latin 1 its superset, as browsers take it, if that fits."""
    plain = codecs.lookup(name).name
    if plain not in ("iso8859-1", "ascii"):
        return plain
    return "cp1252" if not any(byte in sample for byte in b"\x81\x8d\x8f\x90\x9d") else "latin-1"


def _looked_through(file: IO[bytes]) -> tuple[Charset | None, bytes]:
    """The encoding if there is no doubt about it, else what to judge by."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    chunk, valid, sample = file.read(CHUNK), True, b""
    marked = next((name for mark, name in MARKS.items() if chunk.startswith(mark)), None)
    if marked:
        return Charset(marked), b""
    if b"\0" in chunk:
        wide = ranked(chunk[:FIRST])[0]
        return (wide if wide.name.startswith(("utf-16", "utf-32")) else UTF8), b""
    first, open_end = True, False
    while chunk:
        if valid and not (chunk.isascii() and not decoder.getstate()[0]):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                valid = False
        if len(sample) < MOST and not open_end:
            piece, whole = _piece(chunk, FIRST if first else LATER, first, len(chunk) < CHUNK)
            sample, open_end = sample + telling(piece), not whole
        chunk, first = file.read(CHUNK), False
    escaped = any(sign in sample for sign in ESCAPES)
    if valid and not decoder.getstate()[0] and not escaped:
        return UTF8, b""
    if escaped and valid:
        return (ranked(sample)[0] if ranked(sample)[0].name.startswith(("iso2022", "hz")) else UTF8), b""
    share = _whole_in_utf8(sample)
    return (Charset("utf-8", share), b"") if share >= MOSTLY else (None, sample)


def telling(piece: bytes) -> bytes:
    """The words that hold letters beyond ASCII, with a few on either side; all of it where a word changes alphabets."""
    if any(sign in piece for sign in ESCAPES):
        return piece
    words = piece.split()
    hot = [at for at, word in enumerate(words) if not word.isascii()]
    kept = sorted({place for at in hot for place in range(max(0, at - AROUND), at + AROUND + 1) if place < len(words)})
    return b"".join(words[place] + b" " for place in kept)


def _piece(chunk: bytes, most: int, first: bool, last: bool) -> tuple[bytes, bool]:
    """At most so many bytes of a chunk from where it leaves ASCII, and whether they end between words.

    A piece never begins in a word, for a letter might be cut there.
    """
    other = OTHER.search(chunk)
    start = max(0, other.start() - BEFORE) if other else len(chunk)
    if start or not first:
        blank = BLANK.search(chunk, start)
        start = blank.end() if blank else len(chunk)
    piece = chunk[start : start + most]
    if last and start + most >= len(chunk):
        return piece, True
    end = max(piece.rfind(b" "), piece.rfind(b"\n"))
    return (piece[:end], True) if end > 0 else (piece if first else b"", not piece)


def _whole_in_utf8(sample: bytes) -> float:
    """The share of letters beyond ASCII that are whole in UTF-8."""
    wrong = 0

    def count(error: UnicodeError) -> tuple[str, int]:
        nonlocal wrong
        wrong += 1
        return "", error.end  # type: ignore[attr-defined]

    codecs.register_error("fromzero.count", count)
    whole = sum(not char.isascii() for char in sample.decode("utf-8", errors="fromzero.count"))
    return whole / max(whole + wrong, 1)


def _fitting(file: IO[bytes], candidates: list[Charset]) -> list[Charset]:
    """Those that decode the whole file."""
    decoders: dict[Charset, Any] = {one: codecs.getincrementaldecoder(one.name)() for one in candidates}
    while chunk := file.read(CHUNK):
        for one, decoder in list(decoders.items()):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                del decoders[one]
    for one, decoder in list(decoders.items()):
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            del decoders[one]
    return list(decoders)
