"""The artifact: files and a manifest, addressed by what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.core.errors import ArtifactError
from tasks.core.inner_path import InnerPath

FORMAT = 1
TOPS = ("content", "aux")
"""The folders of an artifact: what its digest is made from, and what is kept beside it."""


def canonical(value: Any) -> bytes:
    """JSON bytes that are equal for equal values: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(value: Any) -> str:
    """Hex sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def hash_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, order=True)
class FileEntry:
    """One file of an artifact; `path` is relative to the attempt's folder and starts with content/ or aux/.

    Raises `ArtifactError` for a path that leads out of a folder.
    """

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        InnerPath(self.path)


def digest_of(files: Iterable[FileEntry], part: str | None = None) -> str:
    """The digest over the sorted (path, sha256) of the files under content/, or under one part of it."""
    prefix = f"content/{part}/" if part else "content/"
    return sha256(
        sorted([file.path.removeprefix(prefix), file.sha256] for file in files if file.path.startswith(prefix))
    )


@dataclass(frozen=True)
class Manifest:
    """The one record of an artifact, written last: without it there is no artifact."""

    step: str
    key: str
    made_from: dict[str, Any]
    """What the key was made from: code, conf, inputs (digests in order), format."""
    digest: str
    attempt: str
    """The folder beside the manifest that holds the files."""
    files: tuple[FileEntry, ...]
    stats: dict[str, Any]
    inputs: tuple[dict[str, Any], ...]
    """The artifacts that went in, as references: step, key, digest, part, shard."""
    made_by: dict[str, Any] = field(default_factory=dict)
    """Runs, host, device, git commit, seconds, attempts: never part of the key."""
    shard: str | None = None
    format: int = FORMAT

    def to_json(self) -> bytes:
        """The manifest as indented JSON, sealed: `seal` is the sha256 of all else that it says, statistics too."""
        raw = json.loads(json.dumps(asdict(self)))
        return (json.dumps({**raw, "seal": sha256(raw)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Read a manifest; raises `ArtifactError` naming `where` if it is not one, or not as it was written.

        One of a store from before manifests were sealed is read without: what decides is not read from it alone.
        """
        try:
            raw = json.loads(data)
            seal = raw.pop("seal", None)
            if seal is not None and seal != sha256(raw):
                raise ValueError("it was changed after it was written")
            raw["files"] = tuple(FileEntry(**entry) for entry in raw["files"])
            raw["inputs"] = tuple(raw["inputs"])
            manifest = cls(**raw)
            manifest.check_paths()
            if manifest.format != FORMAT or digest_of(manifest.files) != manifest.digest:
                raise ValueError("its format or digest does not fit its files")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ArtifactError) as error:
            raise ArtifactError(f"{where} is not a valid manifest: {error}") from error
        return manifest

    def check_paths(self) -> None:
        """Raise `ArtifactError` if anything that it says is kept, or was, lies outside of its place."""
        for name in (self.step, self.key, self.attempt, *(ref[of] for ref in self.inputs for of in ("step", "key"))):
            if "/" in InnerPath(name):
                raise ArtifactError(f"{name!r} is no name of a step, a key or an attempt")
        for file in self.files:
            if file.path.partition("/")[0] not in TOPS or "/" not in file.path:
                raise ArtifactError(f"{file.path!r} lies in neither content/ nor aux/")


@dataclass(frozen=True)
class Artifact:
    """A handle on a published artifact, or on one part of it, as steps and flows see it."""

    step: str
    key: str
    digest: str
    """Of the part if there is one, else of the whole."""
    stats: Mapping[str, Any] = field(default_factory=dict, compare=False)
    shard: str | None = None
    part_name: str | None = None
    root: Path | None = field(default=None, compare=False)
    """The local folder that holds content/ and aux/; None until the files are needed."""
    files: tuple[FileEntry, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, manifest: Manifest, root: Path | None = None) -> Artifact:
        """The handle on a manifest's artifact."""
        return cls(
            manifest.step, manifest.key, manifest.digest, manifest.stats, manifest.shard, None, root, manifest.files
        )

    def __truediv__(self, name: str) -> Path:
        """A file under content/ (of this part)."""
        return self.path / name

    @property
    def path(self) -> Path:
        """The folder content/, or that of this part."""
        if self.root is None:
            raise ArtifactError(f"{self.step}/{self.key} has not been brought to this machine")
        return self.root / "content" / (self.part_name or "")

    @property
    def aux(self) -> Path:
        """The folder of files that are kept but not digested."""
        if self.root is None:
            raise ArtifactError(f"{self.step}/{self.key} has not been brought to this machine")
        return self.root / "aux"

    def read_json(self, name: str) -> Any:
        """A small JSON file under content/."""
        return json.loads((self / name).read_bytes())

    def size(self, part: str | None = None) -> int:
        """Bytes of the files under content/, or under a part of it."""
        prefix = f"content/{part}/" if part else "content/"
        return sum(file.size for file in self.files if file.path.startswith(prefix))

    def sums(self) -> dict[str, str]:
        """The sha256 of each file under content/ (of this part), by its path there."""
        prefix = f"content/{self.part_name}/" if self.part_name else "content/"
        return {file.path.removeprefix(prefix): file.sha256 for file in self.files if file.path.startswith(prefix)}

    def part(self, name: str) -> Artifact:
        """The part in content/NAME/, with a digest of its own."""
        if not any(file.path.startswith(f"content/{name}/") for file in self.files):
            raise ArtifactError(f"{self.step}/{self.key} has no part {name!r}")
        return replace(self, part_name=name, digest=digest_of(self.files, name))

    def ref(self) -> dict[str, Any]:
        """The reference as JSON: what manifests, refs and Prefect hold."""
        return {"step": self.step, "key": self.key, "digest": self.digest, "part": self.part_name, "shard": self.shard}
