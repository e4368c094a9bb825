"""The one file that a trainer reads: everything resolved, nothing to look up."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from conf.schema.pretrain import PretrainConf
from tasks.core.artifact import canonical
from tasks.core.errors import DataError
from tasks.core.small_files import write_atomically
from tasks.core.workdir import Workdir
from tasks.formats.tokens import vocab_size_of


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
    """The work directory."""

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
        raw = {**asdict(self), "conf": self.conf.model_dump(mode="json")}
        write_atomically(self.config_file, canonical(raw))
        return self.config_file

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job in a config file."""
        raw = json.loads(path.read_text())
        return cls(**{**raw, "conf": PretrainConf.model_validate(raw["conf"])})


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
