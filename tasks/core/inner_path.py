"""Paths that data name, in manifests, indexes, tags and listings: checked where they are read, so none leads out."""

from __future__ import annotations

import re
from pathlib import Path

from tasks.core.errors import ArtifactError

_NAMES = re.compile(r"(?!\.{1,2}(/|$))[^/\\\x00-\x1f\x7f]+(/(?!\.{1,2}(/|$))[^/\\\x00-\x1f\x7f]+)*")


class InnerPath(str):
    """A path inside a folder: names joined by slashes, none of them `.` or `..`, without backslashes and controls.

    Raises `ArtifactError` for anything else, naming `where` it was read.
    """

    __slots__ = ()

    def __new__(cls, value: object, where: str = "a manifest or an index") -> InnerPath:
        if not isinstance(value, str) or not _NAMES.fullmatch(value):
            raise ArtifactError(
                f"{where} names {value!r}, which is no path inside its folder: it was damaged, or made to write "
                "elsewhere; remove it, and it is made again"
            )
        return super().__new__(cls, value)

    @classmethod
    def fits(cls, value: str) -> bool:
        """Whether a name is such a path."""
        return _NAMES.fullmatch(value) is not None

    def below(self, folder: Path) -> Path:
        """The file in a folder; raises `ArtifactError` if it, or a folder on the way, is a link: it may lead out."""
        path = folder
        for name in self.split("/"):
            path = path / name
            if path.is_symlink():
                raise ArtifactError(f"{path} is a link, and an artifact has none: remove it, and it is made again")
        return path
