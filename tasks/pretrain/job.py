"""The one file that a trainer reads: everything resolved, nothing to look up."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from conf.schema.pretrain import PretrainConf
from tasks.core.artifact import Artifact, canonical
from tasks.core.errors import ArtifactError, DataError
from tasks.core.small_files import write_atomically
from tasks.core.workdir import Workdir
from tasks.formats.tokens import holds_tokens, vocab_size_of

CHECKPOINTS = "checkpoints"
"""The folder of a work directory's checkpoints."""


@dataclass(frozen=True)
class Shared:
    """What nodes that share no folder share in its place: a part of the bucket that their store is in."""

    name: str
    """STEP/KEY: what the work directory is called in the store."""
    epoch: int
    """Of the lease under which the first node trains."""
    scratch: str
    """The id of the first node's scratch: what stands in the store for another one is not of this training."""
    inputs: dict[str, Any]
    """References to the artifacts that are trained on: tokens, tokenizer, start."""
    first: str = ""
    """The certificate of the first node, in PEM; empty on that node itself."""

    @property
    def prefix(self) -> str:
        """Where all that belongs to the work directory is kept, whatever the epoch."""
        return f"_work/{self.name}/"

    @property
    def own(self) -> str:
        """Where this training writes."""
        return f"{self.prefix}{self.epoch:08d}/"


@dataclass(frozen=True)
class Job:
    """What to train, on what, from what, and where to write."""

    conf: PretrainConf
    train: dict[str, list[str]]
    """Folders of training tokens by source."""
    valid: list[str]
    """Folders of valid tokens; may be empty."""
    tokenizer: str
    """Folder whose files are copied beside the model."""
    start: str | None
    """Folder with model/ and state/ of the segment before."""
    root: str
    """The work directory, of this node."""
    shared: Shared | None = None
    """Where checkpoints are kept and other nodes called, if not in the work directory."""

    @property
    def work(self) -> Workdir:
        """The work directory, as steps see it."""
        return Workdir(Path(self.root))

    @property
    def vocab_size(self) -> int:
        """The tokenizer's size, as the first shard of tokens has it; raises `DataError` if there is none."""
        folders = [folder for items in self.train.values() for folder in items]
        if not folders:
            raise DataError("there are no shards of tokens to train on")
        return vocab_size_of(Path(folders[0]))

    @property
    def status_file(self) -> Path:
        """How it ended: {"ok", "kind", "message", "step", "stats"}."""
        return self.work.scratch / "training_status.json"

    @property
    def stop_file(self) -> Path:
        """There once training was asked to stop: from then on nothing is started again."""
        return self.work.scratch / "stop"

    @property
    def rendezvous_file(self) -> Path:
        """There while other nodes are called to take part."""
        return self.work.scratch / "rendezvous.json"

    @property
    def config_file(self) -> Path:
        """This job as JSON."""
        return self.work.scratch / "training_job.json"

    def write(self) -> Path:
        """Write the config file; returns its path."""
        write_atomically(self.config_file, self.to_json())
        return self.config_file

    def to_json(self) -> bytes:
        """This job as canonical JSON."""
        return canonical({**asdict(self), "conf": self.conf.model_dump(mode="json")})

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job in a config file."""
        return cls.from_json(path.read_bytes())

    @classmethod
    def from_json(cls, data: bytes | str) -> Job:
        """The job that `to_json` made; raises `ArtifactError` for anything else."""
        try:
            raw = json.loads(data)
            conf, shared = PretrainConf.model_validate(raw["conf"]), raw["shared"]
            return cls(**{**raw, "conf": conf, "shared": shared and Shared(**shared)})
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"what a node was told to train is no job: {error}") from error

    @classmethod
    def of(
        cls, tokens: Iterable[Artifact], tokenizer: Artifact, start: Artifact | None, conf: PretrainConf, work: Workdir
    ) -> Job:
        """Train on artifacts that are on this machine."""
        train, valid = _folders(tokens)
        begin = str(folder_of(start)) if start else None
        return cls(conf, train, valid, str(tokenizer.path), begin, str(work.root))

    def called(self, certificate: str) -> Job:
        """What other nodes are told of it by the one that has this certificate: no paths, which are others there."""
        assert self.shared is not None
        told = replace(self.shared, first=certificate)
        return replace(self, train={}, valid=[], tokenizer="", start=None, root="", shared=told)


def folder_of(start: Artifact) -> Path:
    """The folder that holds model/ and, unless only the weights are left, state/."""
    return start.path.parent if start.part_name else start.path


def _folders(tokens: Iterable[Artifact]) -> tuple[dict[str, list[str]], list[str]]:
    """Training folders by source (the shard's name without its number), and valid folders that hold tokens."""
    train: dict[str, list[str]] = {}
    valid: list[str] = []
    for shard in tokens:
        train.setdefault(re.sub(r"-\d+$", "", shard.shard or "all"), []).append(str(shard / "train"))
        if holds_tokens(shard / "valid"):
            valid.append(str(shard / "valid"))
    return train, valid


def write_status(path: Path, **fields: Any) -> None:
    """Write the status file unless it is there: the first word is the cause, later ones its consequences."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(canonical(fields))
    try:
        os.link(temporary, path)
    except FileExistsError:
        print(f"status already written; not written: {fields}", file=sys.stderr)
    finally:
        temporary.unlink()
