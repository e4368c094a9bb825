"""What one pretraining trains, on what, from what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from conf.schema.pretrain import PretrainConf
from tasks.core.artifact import Artifact
from tasks.core.errors import DataError
from tasks.core.workdir import Workdir
from tasks.formats.tokens import holds_tokens, vocab_size_of
from tasks.training.job import Nodes, SharedJob


@dataclass(frozen=True)
class PretrainJob(SharedJob):
    """One segment: its tokens, and what it goes on from."""

    conf: PretrainConf
    train: dict[str, list[str]]
    """Folders of training tokens by source."""
    valid: list[str]
    """Folders of valid tokens; may be empty."""
    tokenizer: str
    """Folder whose files are copied beside the model."""
    start: str | None
    """Folder with model/ and state/ of the segment before."""
    worker: ClassVar[str] = "tasks.pretrain.trainer.pretrain_worker"

    @property
    def nodes(self) -> Nodes:
        """How many machines train, and where they meet."""
        run = self.conf.run
        return Nodes(run.nodes, run.rendezvous, run.rendezvous_timeout)

    @property
    def vocab_size(self) -> int:
        """The tokenizer's size, as the first shard of tokens has it; raises `DataError` if there is none."""
        folders = [folder for items in self.train.values() for folder in items]
        if not folders:
            raise DataError("there are no shards of tokens to train on")
        return vocab_size_of(Path(folders[0]))

    @classmethod
    def conf_of(cls, raw: dict[str, Any]) -> PretrainConf:
        """The options in a job as JSON."""
        return PretrainConf.model_validate(raw["conf"])

    @classmethod
    def of(
        cls, tokens: Iterable[Artifact], tokenizer: Artifact, start: Artifact | None, conf: PretrainConf, work: Workdir
    ) -> Self:
        """Train on artifacts that are on this machine."""
        train, valid = _folders(tokens)
        begin = str(folder_of(start)) if start else None
        return cls(conf, train, valid, str(tokenizer.path), begin, root=str(work.root))

    def pathless(self) -> Self:
        """This job without its paths, which are others on other machines."""
        return replace(self, train={}, valid=[], tokenizer="", start=None)

    def brought(self, bring: Callable[[dict[str, Any]], Artifact], work: Workdir) -> Self:
        """The job that another node has told of, on this one."""
        assert self.shared is not None
        inputs = self.shared.inputs
        tokens = [bring(ref) for ref in inputs["tokens"]]
        start = bring(inputs["start"]) if inputs["start"] else None
        return replace(self.of(tokens, bring(inputs["tokenizer"]), start, self.conf, work), shared=self.shared)


def folder_of(start: Artifact) -> Path:
    """The folder that holds model/ and, unless only the weights are left, state/."""
    return start.path.parent if start.part_name else start.path


def refs(tokens: tuple[Artifact, ...], tokenizer: Artifact, start: Artifact | None) -> dict[str, Any]:
    """What other nodes are told of the inputs."""
    return {
        "tokens": [shard.ref() for shard in tokens],
        "tokenizer": tokenizer.ref(),
        "start": start.ref() if start else None,
    }


def _folders(tokens: Iterable[Artifact]) -> tuple[dict[str, list[str]], list[str]]:
    """Training folders by source (the shard's name without its number), and valid folders that hold tokens."""
    train: dict[str, list[str]] = {}
    valid: list[str] = []
    for shard in tokens:
        train.setdefault(re.sub(r"-\d+$", "", shard.shard or "all"), []).append(str(shard / "train"))
        if holds_tokens(shard / "valid"):
            valid.append(str(shard / "valid"))
    return train, valid
