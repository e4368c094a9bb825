"""The one file that a trainer reads: everything resolved, nothing to look up."""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from conf.schema.pretrain import OptimizerConf
from conf.schema.train_run import TrainRun
from tasks.core.artifact import Artifact, canonical
from tasks.core.errors import ArtifactError
from tasks.core.small_files import write_atomically
from tasks.core.workdir import Workdir

CHECKPOINTS = "checkpoints"
"""The folder of a work directory's checkpoints."""


class Budget(Protocol):
    """For how long is trained, at which rates, and which weights become the model: options of a segment have it all."""

    @property
    def steps(self) -> int:
        """Optimizer steps."""

    @property
    def peak_lr(self) -> float:
        """Learning rate after warm-up."""

    @property
    def schedule(self) -> str:
        """wsd, cosine or linear."""

    @property
    def warmup(self) -> float:
        """Share of the steps in which the rate rises."""

    @property
    def decay(self) -> float:
        """Share of the steps in which it falls (wsd)."""

    @property
    def final_lr(self) -> float:
        """Rate at the end, as a share of `peak_lr`."""

    @property
    def ema(self) -> float | None:
        """Decay of an average of the weights that is judged and exported; None for none."""

    @property
    def patience(self) -> int | None:
        """Looks at the valid part without a lower loss after which training ends; None: never."""

    @property
    def export(self) -> str:
        """last or best."""

    def tokens_after(self, step: int) -> int:
        """Tokens that the first `step` steps read."""


class TrainConf(Protocol):
    """The options of a training, as the loop needs them."""

    @property
    def segment(self) -> Budget:
        """For how long."""

    @property
    def optimizer(self) -> OptimizerConf:
        """The optimizer and its guard."""

    @property
    def seed(self) -> int:
        """Of all random numbers."""

    @property
    def eval_interval(self) -> int:
        """Optimizer steps between two looks at the valid part."""

    @property
    def run(self) -> TrainRun:
        """How it is run."""


@dataclass(frozen=True)
class Nodes:
    """Machines that train together."""

    count: int = 1
    rendezvous: str | None = None
    """HOST:PORT at which they meet; None: the first one's name."""
    timeout: float = 600.0
    """Seconds in which all must be there."""


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
    """References to the artifacts that are trained on."""
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

    @classmethod
    def of(cls, job: bytes | str) -> Shared | None:
        """What a job as JSON shares, if anything; raises what JSON and a wrong shape raise."""
        raw = json.loads(job)["shared"]
        return raw and cls(**raw)


@dataclass(frozen=True)
class Job(ABC):
    """What to train, and where to write."""

    conf: Any
    """The options, with `run` as a `TrainRun`."""
    root: str = field(kw_only=True)
    """The work directory, of this node."""
    shared: Shared | None = field(default=None, kw_only=True)
    """Where checkpoints are kept and other nodes called, if not in the work directory."""
    worker: ClassVar[str]
    """The module of the training processes: `python -m MODULE JOB.json`. It names the class of its jobs, `JOB`."""

    @property
    def nodes(self) -> Nodes:
        """How many machines train, and where they meet."""
        return Nodes()

    @property
    def work(self) -> Workdir:
        """The work directory, as steps see it."""
        return Workdir(Path(self.root))

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
    def read(cls, path: Path) -> Self:
        """The job in a config file."""
        return cls.from_json(path.read_bytes())

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """The job that `to_json` made; raises `ArtifactError` for anything else."""
        try:
            raw = json.loads(data)
            return cls(**{**raw, "conf": cls.conf_of(raw), "shared": Shared.of(data)})
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"what a node was told to train is no job: {error}") from error

    @classmethod
    @abstractmethod
    def conf_of(cls, raw: dict[str, Any]) -> Any:
        """The options in a job as JSON."""


@dataclass(frozen=True)
class SharedJob(Job):
    """A job that nodes can train together which share no folder: `shared` says through what."""

    @abstractmethod
    def pathless(self) -> Self:
        """This job without its paths, which are others on other machines."""

    @abstractmethod
    def brought(self, bring: Callable[[dict[str, Any]], Artifact], work: Workdir) -> Self:
        """The job that another node has told of, `pathless`, on this one: `bring` gets the artifact of a reference in
        `shared.inputs`."""

    def called(self, certificate: str) -> Self:
        """What other nodes are told of it by the one that has this certificate."""
        assert self.shared is not None
        return replace(self.pathless(), root="", shared=replace(self.shared, first=certificate))


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
