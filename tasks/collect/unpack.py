"""Packed files: decompressed as they are read, archives member by member, nothing written under a member's name."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from tasks.collect import endings
from tasks.core.errors import DataError

PACKERS: dict[str, tuple[str, Any]] = {
    ".gz": ("gzip", gzip.open),
    ".dz": ("dictzip", gzip.open),
    ".bz2": ("bzip2", bz2.open),
    ".xz": ("xz", lzma.open),
}
UNKNOWN = "has an ending that is not read"
WINDOW = 1 << 31
"""Bytes of the largest window that a zstd frame may have: `zstd --ultra --long=31` makes such."""
PIECE = 1 << 11
"""Packed bytes that are unpacked at once: at the worst they become 64 MB."""
BROKEN = (EOFError, zlib.error, lzma.LZMAError, OSError)


@dataclass(frozen=True)
class Member:
    """A file in an archive, open for reading until the next one is asked for; or why it cannot be read."""

    name: str
    file: IO[bytes] | None
    reason: str = ""


@contextmanager
def opened(packed: Path | IO[bytes], compression: str, name: str) -> Iterator[io.BufferedReader]:
    """The decompressed bytes of a file; raises `DataError` for compressed data that are cut off or damaged."""
    kind, unpack = PACKERS.get(compression, ("zstd", _zstd))
    try:
        if compression:
            with unpack(packed) as unpacked:
                yield io.BufferedReader(unpacked)
        elif isinstance(packed, Path):
            with packed.open("rb") as file:
                yield file
        else:
            yield io.BufferedReader(cast(io.RawIOBase, packed))
    except BROKEN as error:
        if not compression or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise DataError(f"{name}: the {kind} data are cut off or damaged ({error}): make the file again") from error


@contextmanager
def archive(packed: Path, form: str, compression: str, name: str) -> Iterator[Iterator[Member]]:
    """The files in an archive, in its order.

    Files of endings that are not known, links, devices, encrypted files and archives in the archive come with a reason
    in place of their bytes. Raises `DataError` for an archive that is cut off or damaged, also while its members are
    read.
    """
    try:
        if form == ".zip":
            with _zip_file(packed) as zipped:
                yield _zipped(zipped)
        else:
            with opened(packed, compression, name) as file, tarfile.open(fileobj=file, mode="r|") as tarred:
                yield _tarred(tarred)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(f"{name}: the archive is cut off or damaged ({error}): make it again") from error


def _zip_file(packed: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(packed)
    except (NotImplementedError, ValueError, struct.error) as error:  # what damage to the directory may look like
        raise zipfile.BadZipFile(str(error)) from error


def _zipped(zipped: zipfile.ZipFile) -> Iterator[Member]:
    for info in zipped.infolist():
        if info.is_dir():
            continue
        why = _why_not(info.filename, regular=not stat.S_ISLNK(info.external_attr >> 16))
        if info.flag_bits & 1 and why != UNKNOWN:
            why = "is encrypted: unpack the archive"
        try:
            yield Member(info.filename, None, why) if why else Member(info.filename, zipped.open(info))
        except NotImplementedError as error:
            yield Member(info.filename, None, f"cannot be unpacked ({error}): pack it with deflate")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise zipfile.BadZipFile(f"{info.filename} begins before the archive") from error


def _tarred(tarred: tarfile.TarFile) -> Iterator[Member]:
    for info in tarred:
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
