"""Checkpoints that all processes write into a bucket themselves, for nodes that share no folder.

_work/STEP/KEY/EPOCH/checkpoints/SCRATCH-GROUP/step-00000200/     what each process has sent, and .metadata
                                             …/COMPLETE.json      size and sha256 of each, the trainer's record; last

Each group of processes writes under a name of its own, so that one that was taken for dead cannot touch what a later
one has written. What a process has written stays on its machine for a while: it need not be brought back.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.storage import WriteResult

from tasks.core.artifact import FileEntry, hash_file
from tasks.core.errors import ArtifactError, FromzeroError, Transient, from_exception
from tasks.core.store.lease import lock_file
from tasks.training.cluster.bucket_calls import open_bucket
from tasks.training.job import CHECKPOINTS, Job
from tasks.training.trainer.checkpoint import (
    COMPLETE,
    KEEP,
    TRAINER,
    Checkpoints,
    Damaged,
    RestrictedReader,
    is_whole,
    step_of,
)
from tasks.training.trainer.training_log import whole_rows

METADATA = ".metadata"
_NAME = re.compile(rf"(\d{{8}})/{CHECKPOINTS}/([0-9a-f]+)-[0-9a-f]+/step-(\d{{8}})/(.+)")
Send = Callable[[Iterable[str]], None]


class BucketWriter(FileSystemWriter):
    """torch's writer of files, which are sent on: `send` is given the names of those in `folder` that are whole."""

    def __init__(self, folder: Path, send: Send) -> None:
        super().__init__(folder, sync_files=False)
        self._send = send

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> torch.futures.Future[list[WriteResult]]:
        """Write and send the shards of this process."""
        written = super().write_data(plan, planner)
        self._send(sorted({str(result.storage_data.relative_path) for result in written.wait()}))
        return written

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write and send what says where everything is; on the first process, once all have sent theirs."""
        super().finish(metadata, results)
        self._send([METADATA])


class BucketReader(RestrictedReader):
    """torch's reader of files, which are brought before: `bring` is given their names, on all processes at once."""

    def __init__(self, folder: Path, bring: Send) -> None:
        super().__init__(folder)
        self._bring = bring

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> torch.futures.Future[None]:
        """Bring what this process needs, and fill nothing unless all have theirs."""
        self._bring(sorted({str(self.storage_data[item.storage_index].relative_path) for item in plan.items}))
        return super().read_data(plan, planner)


@dataclass(frozen=True)
class Kept:
    """One checkpoint in the bucket, as its completion marker has it."""

    prefix: str
    """Of its objects' names."""
    files: dict[str, FileEntry]
    trainer: dict[str, Any]
    """What was saved as `trainer`."""

    @property
    def step(self) -> int:
        """The step that it is of."""
        return int(self.prefix[-9:-1])

    def inside(self, root: Path) -> Path:
        """Its folder on a machine that keeps its copies in `root`."""
        return root.joinpath(*self.prefix.split("/")[-3:-1])

    def to_json(self) -> bytes:
        """The completion marker."""
        files = sorted(map(astuple, self.files.values()))
        return json.dumps({"prefix": self.prefix, "files": files, "trainer": self.trainer}).encode()

    @classmethod
    def from_json(cls, data: bytes | str, prefix: str) -> Kept:
        """The checkpoint at `prefix` that a marker is of; raises `ArtifactError` if it is none."""
        try:
            raw = json.loads(data)
            files = {entry[0]: FileEntry(*entry) for entry in raw["files"]}
            if raw["prefix"] != prefix or METADATA not in files:
                raise ValueError("it is of another one")
            return cls(prefix, files, dict(raw["trainer"]))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ArtifactError(f"{prefix}{COMPLETE} is no completion marker: {error}") from error


class BucketCheckpoints(Checkpoints):
    """The checkpoints of a training in a bucket, as all its processes see them; folders are copies on this machine.

    What an earlier holder of the lease has left counts too. Where one node trained before, and kept its checkpoints in
    its work directory, the newest is sent when it is asked for.
    """

    def __init__(
        self, job: Job, progress: Callable[[int], None], say: Callable[[str], None], beside: Sequence[Path] = ()
    ) -> None:
        """`beside` are files of the first process that are kept with each checkpoint."""
        assert job.shared is not None
        super().__init__(job.work.root / CHECKPOINTS, progress, say)
        self.shared, self.bucket, self.beside = job.shared, open_bucket(), beside
        group = [f"{job.shared.scratch}-{uuid.uuid4().hex[:12]}"]
        dist.broadcast_object_list(group, 0, group=self.group)
        self.own = f"{job.shared.own}{CHECKPOINTS}/{group[0]}/"
        self._of_one_node = job.work.scratch / CHECKPOINTS
        self._sent: dict[str, FileEntry] = {}
        self._chosen: dict[Path, Kept] = {}
        self._damaged = False

    def _prefix(self, step: int) -> str:
        return f"{self.own}step-{step:08d}/"

    def folder(self, step: int) -> Path:
        """Where this machine's part of the checkpoint of a step lies."""
        return self.root.joinpath(*self._prefix(step).split("/")[-3:-1])

    # writing

    def _writer(self, step: int) -> FileSystemWriter:
        self._sent = {}
        return BucketWriter(self.folder(step), partial(self._send, self.folder(step), self._prefix(step)))

    def _send(self, folder: Path, prefix: str, names: Iterable[str]) -> None:
        try:
            entries = [FileEntry(name, (folder / name).stat().st_size, hash_file(folder / name)) for name in names]
            self.bucket.upload((folder / entry.path, prefix + entry.path, entry) for entry in entries)
        except Exception as error:  # of a kind that another process may be told of
            raise from_exception(error) from error
        self._sent |= {entry.path: entry for entry in entries}

    def _complete(self, written: Future[Any], step: int, trainer: bytes, keep: frozenset[int]) -> None:
        written.result()
        everyone: list[Any] | None = None if self.rank else [None] * dist.get_world_size(self.group)
        dist.gather_object([astuple(entry) for entry in self._sent.values()], everyone, 0, group=self.group)
        if everyone is not None:
            self._sent = {entry[0]: FileEntry(*entry) for entries in everyone for entry in entries}
            folder, prefix = self.folder(step), self._prefix(step)
            for path in self.beside:
                if path.exists():
                    (folder / path.name).write_bytes(whole_rows(path))
                    self._send(folder, prefix, [path.name])
            self._mark(Kept(prefix, self._sent, json.loads(trainer)))
            self.progress(step)
            self._prune(keep)
        self._tidy()

    def _mark(self, kept: Kept) -> None:
        self.bucket.put(f"{kept.prefix}{COMPLETE}", kept.to_json(), None)

    def _prune(self, keep: frozenset[int]) -> None:
        """Keep the newest two, the one with the least valid loss, and those of the steps in `keep`; what an earlier
        holder of the lease, an earlier scratch or a killed group has left goes with the rest."""
        there = self._all()
        whole = self._whole_ones(there)
        best = _least(whole)
        stay = {one.prefix for one in whole if one in whole[:KEEP] or one is best or one.step in keep}
        for prefix in there.keys() - stay:
            self._remove(there[prefix])

    def _remove(self, names: dict[str, int]) -> None:
        """The marker first: what is half removed is never taken for whole."""
        self.bucket.delete([name for name in names if name.endswith(COMPLETE)])
        self.bucket.delete(sorted(names))

    def _tidy(self) -> None:
        """Let go of this machine's copies but for those of the newest two."""
        folders = sorted(self.root.glob("*/step-*"), key=step_of)
        newest = {step_of(folder) for folder in folders[-KEEP:]}
        for folder in folders:
            if step_of(folder) not in newest:
                shutil.rmtree(folder, ignore_errors=True)  # other processes of this machine do the same

    # choosing, by the first process

    def _all(self) -> dict[str, dict[str, int]]:
        """The objects of each checkpoint up to this epoch and their sizes, by prefix, the newest checkpoint first."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        order: dict[str, tuple[bool, int, int]] = {}
        for name, size in self.bucket.names(self.shared.prefix).items():
            match = _NAME.fullmatch(name.removeprefix(self.shared.prefix))
            if match is not None and int(match[1]) <= self.shared.epoch:
                prefix = name.removesuffix(match[4])
                found[prefix][name] = size
                order[prefix] = match[2] == self.shared.scratch, int(match[3]), int(match[1])
        return {prefix: found[prefix] for prefix in sorted(found, key=order.__getitem__, reverse=True)}

    def _whole(self, prefix: str, names: dict[str, int]) -> Kept | str | None:
        """The checkpoint that these objects are, why they are none, or None if they are of another scratch."""
        if not prefix.split("/")[-3].startswith(f"{self.shared.scratch}-"):
            return None
        if f"{prefix}{COMPLETE}" not in names:
            return "it was never completed"
        try:
            kept = Kept.from_json(self.bucket.get(f"{prefix}{COMPLETE}").data, prefix)
        except (ArtifactError, FileNotFoundError) as error:
            return str(error)
        wrong = [file.path for file in kept.files.values() if names.get(prefix + file.path) != file.size]
        return f"{wrong[0]} is missing, or has another size" if wrong else kept

    def latest(self) -> Path | None:
        """See `Checkpoints`."""
        self.newest = -1
        return self._choose(self._newest() if self.rank == 0 else None)

    def _newest(self) -> Kept | None:
        found: Kept | None = None
        for prefix, names in self._all().items():
            one = self._whole(prefix, names)
            if isinstance(one, Kept):
                found = one
                break
            if one is not None:
                self.say(f"checkpoint {prefix.split('/')[-2]} is not whole: taking the one before it ({one})")
                self._remove(names)
        before = sorted(self._of_one_node.glob("step-*"), key=step_of, reverse=True)
        here = next((folder for folder in before if is_whole(folder)), None)
        return self._adopt(here) if here and step_of(here) > (found.step if found else -1) else found

    def _adopt(self, folder: Path) -> Kept:
        """Send a checkpoint that one node has kept in its work directory."""
        self._sent, prefix = {}, self._prefix(step_of(folder))
        self._send(folder, prefix, [path.name for path in folder.iterdir() if path.name not in (COMPLETE, TRAINER)])
        kept = Kept(prefix, self._sent, json.loads((folder / TRAINER).read_text()))
        self._mark(kept)
        return kept

    def _whole_ones(self, there: dict[str, dict[str, int]]) -> list[Kept]:
        found = (self._whole(prefix, names) for prefix, names in there.items())
        return [one for one in found if isinstance(one, Kept)]

    def of(self, step: int) -> Path | None:
        """See `Checkpoints`."""
        found = self._whole_ones(self._all()) if self.rank == 0 else []
        return self._choose(next((one for one in found if one.step == step), None))

    def best(self) -> Path | None:
        """See `Checkpoints`."""
        return self._choose(_least(self._whole_ones(self._all())) if self.rank == 0 else None)

    def _choose(self, kept: Kept | None) -> Path | None:
        told = [(kept.prefix, kept.to_json().decode()) if kept else None]
        dist.broadcast_object_list(told, 0, group=self.group)
        if told[0] is None:
            return None
        kept = Kept.from_json(told[0][1], told[0][0])
        folder = kept.inside(self.root)
        self._chosen[folder] = kept
        return folder

    def discard(self, folder: Path, why: str) -> None:
        """See `Checkpoints`."""
        super().discard(folder, why)
        kept = self._chosen.pop(folder)
        if self.rank == 0:
            self._remove(self.bucket.names(kept.prefix))

    # reading

    def load(self, folder: Path, state: dict[str, torch.Tensor]) -> dict[str, Any]:
        """See `Checkpoints`. Each process brings what it needs, or finds it on its machine."""
        kept, self._damaged = self._chosen[folder], False
        bring = partial(self._bring, kept)
        try:
            bring([METADATA])
            reader = BucketReader(folder, bring)
            reader.read_metadata()  # what is refused is told as it is, where torch would look for another one
            load(state, storage_reader=reader, process_group=self.group)
        except (CheckpointException, FromzeroError) as error:
            if not self._damaged:
                raise
            raise Damaged(f"{folder.name} in {self.bucket.where} has other bytes than when it was made") from error
        self.newest = kept.step
        return kept.trainer

    def record(self, folder: Path) -> dict[str, Any]:
        """See `Checkpoints`."""
        return self._chosen[folder].trainer

    def _bring(self, kept: Kept, names: Iterable[str]) -> None:
        """Have files of a checkpoint on this machine, on all processes or on none.

        Raises `ArtifactError` on all of them if any found its files damaged or gone, else what kept it from reading.
        """
        why: FromzeroError | None = None
        try:
            self._fetch(kept, names)
        except Exception as error:
            why = ArtifactError(str(error)) if isinstance(error, FileNotFoundError) else from_exception(error)
        worst = torch.tensor(0 if why is None else 2 if isinstance(why, ArtifactError) else 1)
        dist.all_reduce(worst, dist.ReduceOp.MAX, group=self.group)
        self._damaged = int(worst) == 2
        if int(worst):
            other = ArtifactError if self._damaged else Transient
            raise why or other("another process could not read its part of the checkpoint")

    def _fetch(self, kept: Kept, names: Iterable[str]) -> None:
        folder = kept.inside(self.root)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            entries = [kept.files[name] for name in names]
        except KeyError as error:
            raise ArtifactError(f"{kept.prefix}{METADATA} names {error}, which is no part of it") from error
        with lock_file(folder.with_name(f".{folder.name}.lock")):  # one process brings what others need too
            wanted = [(kept.prefix + file.path, folder / file.path, file) for file in entries if not _is(folder, file)]
            if wanted:
                self.bucket.download(wanted, folder / ".incoming")

    def kept_beside(self, folder: Path) -> list[Path]:
        """See `Checkpoints`; to be called on the first process."""
        kept = self._chosen[folder]
        names = [path.name for path in self.beside if path.name in kept.files]
        try:
            self._fetch(kept, names)
        except (ArtifactError, FileNotFoundError) as error:
            self.say(f"what was logged up to {folder.name} cannot be read: {error}")
            return []
        return [folder / name for name in names]


def _least(kept: Iterable[Kept]) -> Kept | None:
    scored = [(loss, one) for one in kept if (loss := one.trainer["losses"]["valid_loss"]) is not None]
    return min(scored, key=lambda pair: pair[0])[1] if scored else None


def _is(folder: Path, file: FileEntry) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.size and hash_file(path) == file.sha256
