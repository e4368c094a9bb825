"""What Debian and its like say of their packages: descriptions, with section, size and tags."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import math
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from conf.schema.source import Source
from tasks.collect.document_writer import Documents
from tasks.core.errors import DataError

APT = "apt-cache dumpavail"
LICENCE = "as Debian's archive: descriptions are under the licences of their packages"
OPENED: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


class DebianSource(Source):
    """Descriptions of packages of Debian, Ubuntu and the like: the section is the label, the targets are number (the
    logarithm to base 10 of the KiB that it takes when installed) and labels (debtags)."""

    kind: Literal["debian_packages"]
    """Always debian_packages."""
    where: ClassVar[frozenset[str]] = frozenset({"indexes"})
    indexes: tuple[str, ...] = ()
    """Files as an archive has them for its packages: Packages, Packages.gz, Packages.xz or Packages.bz2. None: what apt
    knows on this machine (`apt-get update` asks its archives)."""
    facets: tuple[str, ...] = ("interface", "role", "use", "works-with")
    """Facets of debtags that are labels, as use of use::editing; none: all."""
    max_packages: int | None = Field(None, ge=1)
    """How many to take, in the order of their names' hashes; None for all."""

    @property
    def has_targets(self) -> bool:
        """Always."""
        return True


OPTIONS, PLACE, LIBRARIES = DebianSource, "indexes", ("pyarrow",)


def entries(source: str, conf: DebianSource, known: Iterable[str] = ()) -> list[dict[str, Any]]:
    """One entry for each index, stamped by what it holds; raises `DataError` for one that is not there or empty."""
    found = []
    for place in conf.indexes or (APT,):
        text = _read(place, source)
        if "\nDescription" not in text:
            advice = "run apt-get update" if place == APT else "name a Packages file of an archive"
            raise DataError(f"{place} knows no package: {advice} (data.sources.{source}.indexes)")
        stamp = hashlib.sha256(text.encode()).hexdigest()[:32]
        found.append(
            {"uri": place, "name": "apt" if place == APT else Path(place).name, "size": len(text), "stamp": stamp}
        )
    return found


def read(held: Sequence[dict[str, Any]], conf: DebianSource, documents: Documents, scratch: Path) -> None:
    """Add the descriptions of some indexes; raises `DataError` for one that has changed since it was listed."""
    for entry in held:
        text = _read(entry["uri"], documents.source)
        if hashlib.sha256(text.encode()).hexdigest()[:32] != entry["stamp"]:
            raise DataError(f"{entry['uri']} has changed since it was listed: run again")
        found = list(packages(text))
        if conf.max_packages is not None:
            found.sort(key=lambda one: hashlib.sha256(one["Package"].encode()).digest())
        for package in found[: conf.max_packages]:
            _add(package, entry["name"], conf, documents)


def packages(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of an index that have a description, as Debian's policy (chapter 5) has them: fields, the lines of
    one that goes on joined by line breaks."""
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + ("" if line.strip() == "." else line[1:])
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        described = next((value for name, value in fields.items() if name in ("Description-en", "Description")), None)
        if described and "Package" in fields:
            yield {**fields, "Description": described}


def _add(package: Mapping[str, str], index: str, conf: DebianSource, documents: Documents) -> None:
    tags = [tag.strip() for tag in package.get("Tag", "").split(",")]
    kept = sorted({tag for tag in tags if "::" in tag and (not conf.facets or tag.partition("::")[0] in conf.facets)})
    said: dict[str, Any] = {"labels": kept} if "Tag" in package else {}
    size = package.get("Installed-Size", "")
    if size.isdigit() and int(size):
        said["number"] = round(math.log10(int(size)), 4)
    section = package.get("Section", "").rpartition("/")[2] or None
    documents.add(package["Description"], f"{index}#{package['Package']}", LICENCE, section, said=said)


def _read(place: str, source: str) -> str:
    if place == APT:
        try:
            return subprocess.run(APT.split(), check=True, capture_output=True).stdout.decode(errors="replace")
        except (OSError, subprocess.CalledProcessError) as error:
            raise DataError(
                f"apt-cache does not run here ({error}): name Packages files by data.sources.{source}.indexes"
            ) from error
    try:
        with OPENED.get(Path(place).suffix, open)(place, "rb") as file:
            return str(file.read().decode(errors="replace"))
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{place} cannot be read: {error} (data.sources.{source}.indexes)") from error
