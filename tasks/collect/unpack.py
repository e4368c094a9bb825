"""Packed files: decompressed as they are read, archives member by member, nothing written under a member's name."""

from __future__ import annotations

import bz2
import copy
import errno
import gzip
import io
import lzma
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from tasks.collect import endings
from tasks.core.errors import DataError

RATIO = 32
"""Times as large as it is packed that a file beyond max_file_gb may become; text becomes 3 to 20 times as large."""
HEADS = 1 << 20
"""Bytes of a tar archive before a member: its name, its attributes, the places of what is not zero in it."""
DIRECTORY = 1 << 25
"""Bytes of a zip archive's list of members that no archive is too small for."""
XZ_MEMORY = 1 << 28
"""Bytes that unpacking xz may take; `xz -9` needs 65 MB."""
PACKERS: dict[str, tuple[str, Any]] = {
    ".gz": ("gzip", gzip.open),
    ".dz": ("dictzip", gzip.open),
    ".bz2": ("bzip2", bz2.open),
}
UNKNOWN = "has an ending that is not read"
WINDOW = 1 << 31
"""Bytes of the largest window that a zstd frame may have: `zstd --ultra --long=31` makes such."""
BUFFER = 1 << 16
"""Unpacked bytes that are asked for at once."""
PIECE = 1 << 11
"""Packed bytes that are unpacked at once: at the worst they become 64 MB."""
BROKEN = (EOFError, zlib.error, lzma.LZMAError, OSError)


@dataclass(frozen=True)
class Member:
    """A file in an archive, open for reading until the next one is asked for; or why it cannot be read."""

    name: str
    file: IO[bytes] | None
    reason: str = ""


class Budget:
    """How many bytes the files of a shard may still unpack to: `max_file_gb`, or `RATIO` times what is there packed."""

    def __init__(self, gb: float) -> None:
        self.packed = 0
        """Bytes of the file at hand as it came."""
        self._gb, self._all, self._spent = gb, 0, 0

    def begin(self, packed: int) -> None:
        """Another file of so many bytes is read."""
        self.packed = packed
        self._all += packed

    def spend(self, size: int, name: str) -> None:
        """Count bytes before they are held or written; raises `DataError` when there are too many."""
        self._spent += size
        if self._spent > max(self._gb * 1e9, RATIO * self._all):
            raise DataError(
                f"{name}: unpacks to too much: {self._all:,} bytes of its shard become more than {self._gb:g} GB: take "
                "it out, or raise max_file_gb of the source"
            )

    def again(self) -> Budget:
        """For a file that is read twice: what is left now, counted apart."""
        return copy.copy(self)


class _Counted(io.RawIOBase):
    """A stream whose bytes are counted as they come."""

    def __init__(self, file: Any, budget: Budget, name: str) -> None:
        self._file, self._budget, self._name = file, budget, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = int(self._file.readinto(buffer) or 0)
        self._budget.spend(size, self._name)
        return size


@contextmanager
def opened(packed: Path | IO[bytes], compression: str, name: str, budget: Budget) -> Iterator[io.BufferedReader]:
    """The decompressed bytes of a file, counted; a file that is not packed is as large as it is, and not counted.

    Raises `DataError` for compressed data that are cut off or damaged, and beyond the budget.
    """
    kind, unpack = PACKERS.get(compression, ("zstd", _zstd))
    try:
        if compression:
            with unpack(packed) as unpacked:
                yield io.BufferedReader(_Counted(unpacked, budget, name), BUFFER)
        elif isinstance(packed, Path):
            with packed.open("rb") as file:
                yield file
        else:
            yield io.BufferedReader(_Counted(packed, budget, name), BUFFER)
    except BROKEN as error:
        if not compression or (isinstance(error, OSError) and error.errno is not None):
            raise
        if "memory" in str(error).lower():
            raise DataError(f"{name}: unpacking takes more than {XZ_MEMORY:,} bytes: pack it with `xz -9`") from error
        raise DataError(f"{name}: the {kind} data are cut off or damaged ({error}): make the file again") from error


@contextmanager
def archive(packed: Path, form: str, compression: str, name: str, budget: Budget) -> Iterator[Iterator[Member]]:
    """The files in an archive, in its order.

    Files of endings that are not known, links, devices, encrypted files and archives in the archive come with a reason
    in place of their bytes. Raises `DataError` for an archive that is cut off or damaged, also while its members are
    read.
    """
    try:
        if form == ".zip":
            with packed.open("rb") as file, _zip_file(file, max(DIRECTORY, budget.packed)) as zipped:
                yield _zipped(zipped)
        else:
            with opened(packed, compression, name, budget.again()) as file:  # of which members are counted as well
                yield _tarred(file)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(f"{name}: the archive is cut off or damaged ({error}): make it again") from error


def _zip_file(file: IO[bytes], most: int) -> zipfile.ZipFile:
    """An open archive; raises `BadZipFile` for one whose list of members has more bytes than `most`."""
    limited = _Limited(file, most)
    try:
        opened = zipfile.ZipFile(limited)
    except (NotImplementedError, ValueError, struct.error) as error:  # what damage to the directory may look like
        raise zipfile.BadZipFile(str(error)) from error
    limited.most = sys.maxsize  # members are read in pieces
    return opened


class _Limited:
    """A file of which no more than so many bytes are read at once."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self.most = file, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise zipfile.BadZipFile(f"its list of members has {size:,} bytes, more than {self.most:,}")
        return self._file.read(size)


def _zipped(zipped: zipfile.ZipFile) -> Iterator[Member]:
    for info in zipped.infolist():
        if info.is_dir():
            continue
        why = _why_not(info.filename, regular=not stat.S_ISLNK(info.external_attr >> 16))
        if info.flag_bits & 1 and why != UNKNOWN:
            why = "is encrypted: unpack the archive"
        try:
            yield Member(info.filename, None, why) if why else Member(info.filename, _member(zipped, info))
        except NotImplementedError as error:
            yield Member(info.filename, None, f"cannot be unpacked ({error}): pack it with deflate")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise zipfile.BadZipFile(f"{info.filename} begins before the archive") from error


def _member(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A member's bytes, of which no more are held at once than are asked for."""
    if info.compress_type not in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        return zipped.open(info)
    stored: Any = copy.copy(info)  # zipfile would unpack at once whatever a piece of these becomes
    stored.compress_type, stored.file_size, stored.CRC = zipfile.ZIP_STORED, info.compress_size, None
    packed = zipped.open(stored)
    fresh = bz2.BZ2Decompressor if info.compress_type == zipfile.ZIP_BZIP2 else partial(_raw_lzma, packed)
    return _Checked(_Unpacked(packed, fresh), info)  # type: ignore[return-value]


def _raw_lzma(packed: IO[bytes]) -> lzma.LZMADecompressor:
    """By the properties before the data (APPNOTE 5.8.8)."""
    head = packed.read(9)
    if len(head) < 9 or head[2:4] != b"\5\0" or head[4] >= 225:
        raise zipfile.BadZipFile("a member's LZMA properties are none")
    size = struct.unpack("<I", head[5:])[0]
    if size > XZ_MEMORY:
        raise zipfile.BadZipFile(f"a member needs {size:,} bytes to be unpacked, more than {XZ_MEMORY:,}")
    bits, places = head[4] % 9, head[4] // 9
    filters = {"id": lzma.FILTER_LZMA1, "dict_size": size, "lc": bits, "lp": places % 5, "pb": places // 5}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[filters])


class _Checked(io.RawIOBase):
    """A member's bytes, as many as the archive says, whose checksum is checked at their end."""

    def __init__(self, file: io.RawIOBase, info: zipfile.ZipInfo) -> None:
        self._file, self._info, self._left, self._sum = file, info, info.file_size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            size = int(self._file.readinto(memoryview(buffer)[: self._left]) or 0) if self._left else 0
        except (lzma.LZMAError, OSError) as error:
            raise zipfile.BadZipFile(f"{self._info.filename!r}: {error}") from error
        self._left -= size
        self._sum = zlib.crc32(memoryview(buffer)[:size], self._sum)
        if size == 0 and self._left:
            raise EOFError
        if not self._left and self._sum != self._info.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {self._info.filename!r}")
        return size


class _Heads(io.RawIOBase):
    """The bytes of a tar archive, of which no more than `HEADS` are read beyond where a member begins."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._read, self.begins = file, 0, 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._read += len(piece)
        if self._read > self.begins + HEADS + tarfile.RECORDSIZE:
            raise tarfile.ReadError(f"what it says of a member, at byte {self.begins}, has more than {HEADS:,} bytes")
        return piece


def _tarred(file: IO[bytes]) -> Iterator[Member]:
    heads = _Heads(file)
    with tarfile.open(fileobj=heads, mode="r|") as tarred:
        while info := tarred.next():
            heads.begins = tarred.offset  # where the next one does
            tarred.members.clear()  # type: ignore[attr-defined]  # else it remembers them all
            if info.isdir():
                continue
            why = _why_not(info.name, regular=info.isreg())
            yield Member(info.name, None, why) if why else Member(info.name, tarred.extractfile(info))


def _why_not(name: str, regular: bool) -> str:
    form, _ = endings.split(name) or (UNKNOWN, "")
    if form == UNKNOWN:
        return UNKNOWN
    if form in endings.ARCHIVES:
        return "is an archive in an archive: unpack it"
    return "" if regular else "is a link or a device: the archive should hold the file itself"


@contextmanager
def _xz(packed: Path | IO[bytes]) -> Iterator[io.RawIOBase]:
    with packed.open("rb") if isinstance(packed, Path) else nullcontext(packed) as file:
        yield _Unpacked(file, partial(lzma.LZMADecompressor, memlimit=XZ_MEMORY))


PACKERS[".xz"] = ("xz", _xz)


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of streams of xz, or the like, one after another; what follows and is none is ignored."""

    def __init__(self, file: IO[bytes], fresh: Any) -> None:
        self._file, self._fresh, self._stream, self._later = file, fresh, fresh(), False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            waiting = b""
            if self._stream.eof:
                waiting = self._stream.unused_data.lstrip(b"\0")  # streams may be padded
                while not waiting and (piece := self._file.read(BUFFER)):
                    waiting = piece.lstrip(b"\0")
                if not waiting:
                    return 0
                self._stream, self._later = self._fresh(), True
            elif self._stream.needs_input:
                waiting = self._file.read(BUFFER)
                if not waiting:
                    raise EOFError("the stream is not complete")
            try:
                piece = self._stream.decompress(waiting, len(buffer))
            except (lzma.LZMAError, OSError):
                if not self._later:
                    raise
                return 0
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)


@contextmanager
def _zstd(packed: Path | IO[bytes]) -> Iterator[io.RawIOBase]:
    with packed.open("rb") if isinstance(packed, Path) else nullcontext(packed) as file:
        yield _Frames(file)


class _Frames(io.RawIOBase):
    """The decompressed bytes of zstd frames, one after another, with windows of any size that the format has."""

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._file, self._held, self._waiting = file, io.BytesIO(), b""
        self._fresh = partial(zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj)
        self._frame: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not (size := self._held.readinto(buffer)):
            self._waiting = self._waiting or self._file.read(PIECE)
            if not self._waiting:
                if self._frame is not None:
                    raise EOFError("the last frame is not complete")
                return 0
            self._next()
        return size

    def _next(self) -> None:
        import zstandard

        self._frame = self._frame or self._fresh()
        try:
            self._held = io.BytesIO(self._frame.decompress(self._waiting))
        except zstandard.ZstdError as error:
            raise zlib.error(str(error)) from error
        self._waiting = b""
        if self._frame.eof:
            self._waiting, self._frame = self._frame.unused_data, None
