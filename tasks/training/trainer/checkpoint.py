"""Checkpoints that are either whole or not there: sharded, asynchronous, checked by sha256 before use.

checkpoints/step-00000200/     tensors and .metadata (torch.distributed.checkpoint), trainer.json
checkpoints/step-00000200/COMPLETE.json      sha256 of every file above, written last
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata, StorageMeta
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from tasks.core.artifact import hash_file
from tasks.core.errors import ArtifactError
from tasks.core.inner_path import InnerPath
from tasks.core.small_files import write_atomically

COMPLETE = "COMPLETE.json"
TRAINER = "trainer.json"
KEEP = 2

_CHECKPOINT = "torch.distributed.checkpoint.metadata"
ALLOWED: frozenset[tuple[str, str]] = frozenset(
    {
        *((_CHECKPOINT, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
        *((_CHECKPOINT, name) for name in ("TensorStorageMetadata", "ChunkStorageMetadata", "_MEM_FORMAT_ENCODING")),
        ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
        ("torch", "Size"),
        ("torch.serialization", "_get_layout"),
        ("collections", "OrderedDict"),
        ("pathlib", "PosixPath"),
        ("pathlib", "Path"),
        *(("torch", name) for name in ("float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool")),
    }
)
"""All that a checkpoint of tensors needs. Byte entries are left out: reading one would unpickle anything."""


class Damaged(ArtifactError):
    """A checkpoint turned out not to be whole when it was read; nothing was filled with it, on no process."""


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickles plain values and the classes of `ALLOWED`; everything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """The named class; raises `ArtifactError` unless it is allowed."""
        if (module, name) == ("builtins", "getattr"):
            return _member
        if (module, name) not in ALLOWED:
            raise ArtifactError(f"a checkpoint's .metadata wants {module}.{name}, which none needs: it is not read")
        return super().find_class(module, name)


def _member(kind: Any, name: str) -> Any:
    """A member of the one enumeration in there, which Python 3.11.0 to 3.11.3 write as getattr(kind, name)."""
    if kind is not _MEM_FORMAT_ENCODING:
        raise ArtifactError(f"a checkpoint's .metadata wants {name!r} of {kind!r}, which none needs: it is not read")
    return _MEM_FORMAT_ENCODING[name]


class RestrictedReader(FileSystemReader):
    """torch's reader, which would unpickle .metadata without looking."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The metadata, through the restricted unpickler."""
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata = RestrictedUnpickler(file).load()
        if not isinstance(metadata, Metadata):
            raise ArtifactError(f"{self.path}/.metadata holds a {type(metadata).__name__}, not a checkpoint's metadata")
        for stored in (metadata.storage_data or {}).values():
            InnerPath(stored.relative_path, f"{self.path}/.metadata").below(Path(self.path))
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in sorted(folder.iterdir()) if path.name != COMPLETE}


def is_whole(folder: Path) -> bool:
    """Whether every file is there with the bytes that the completion marker names."""
    try:
        marked = json.loads((folder / COMPLETE).read_text())
        return bool(marked) and _hashes(folder) == marked
    except (OSError, ValueError):
        return False


def step_of(folder: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    return int(folder.name.removeprefix("step-"))


class Checkpoints:
    """The checkpoints of one run, as all its processes see them."""

    def __init__(self, root: Path, progress: Callable[[int], None], say: Callable[[str], None]) -> None:
        self.root, self.progress, self.say = root, progress, say
        self.rank = dist.get_rank()
        # Saving has collectives of its own, in another thread: on the trainer's group they would mix with its own.
        self.group = dist.new_group(backend="gloo")
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.pending: Future[None] | None = None
        self.newest = -1
        self.beat: Callable[[], None] = lambda: None
        """Called every second in which a checkpoint is waited for: slow storage is no hang."""
        if self.rank == 0:
            root.mkdir(parents=True, exist_ok=True)

    def folder(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.root / f"step-{step:08d}"

    def save(
        self, step: int, state: dict[str, torch.Tensor], trainer: dict[str, Any], keep: Collection[int] = ()
    ) -> None:
        """Copy the state and write it in the background; waits first for the checkpoint before.

        Once it is whole, older ones are removed, but for those of the steps in `keep`.
        """
        self.wait()
        if step == self.newest:
            return
        self.newest = step
        written = async_save(dict(state), storage_writer=self._writer(step), process_group=self.group)
        assert isinstance(written, Future)
        self.pending = self.thread.submit(self._complete, written, step, json.dumps(trainer).encode(), frozenset(keep))

    def _writer(self, step: int) -> FileSystemWriter:
        return FileSystemWriter(self.folder(step))

    def _complete(self, written: Future[Any], step: int, trainer: bytes, keep: frozenset[int]) -> None:
        written.result()
        if self.rank:
            return
        folder = self.folder(step)
        write_atomically(folder / TRAINER, trainer)
        write_atomically(folder / COMPLETE, json.dumps(_hashes(folder)).encode())
        for path in (folder, self.root):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        self.progress(step)
        self._prune(keep)

    def _prune(self, keep: frozenset[int]) -> None:
        """Keep the newest two, the one with the least valid loss, and those of the steps in `keep`."""
        whole = sorted((path for path in self.root.glob("step-*") if (path / COMPLETE).exists()), key=step_of)
        best = self._best(whole)
        for folder in whole[:-KEEP]:
            if folder != best and step_of(folder) not in keep:
                (folder / COMPLETE).unlink()
                shutil.rmtree(folder)

    @staticmethod
    def _best(folders: list[Path]) -> Path | None:
        scored = [(json.loads((folder / TRAINER).read_text())["losses"]["valid_loss"], folder) for folder in folders]
        return min(((loss, folder) for loss, folder in scored if loss is not None), default=(0, None))[1]

    def poll(self) -> None:
        """Raise what went wrong in the background, if anything did."""
        if self.pending is not None and self.pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the checkpoint in the background to be whole."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            while wait_for([pending], timeout=1.0).not_done:
                self.beat()
            pending.result()

    def latest(self) -> Path | None:
        """The newest whole checkpoint; broken ones are said so and removed. The same answer on all processes."""
        found, self.newest = None, -1
        if self.rank == 0:
            for folder in sorted(self.root.glob("step-*"), key=step_of, reverse=True):
                if is_whole(folder):
                    found = folder
                    break
                self.say(f"checkpoint {folder.name} is not whole: taking the one before it")
                shutil.rmtree(folder)
        return self._agree(found)

    def of(self, step: int) -> Path | None:
        """The checkpoint of a step, None unless it is whole. The same answer on all processes."""
        return self._agree(self.folder(step) if self.rank == 0 and is_whole(self.folder(step)) else None)

    def best(self) -> Path | None:
        """The whole checkpoint with the least valid loss. The same answer on all processes."""
        whole = [path for path in sorted(self.root.glob("step-*")) if is_whole(path)] if self.rank == 0 else []
        return self._agree(self._best(whole))

    def _agree(self, folder: Path | None) -> Path | None:
        chosen = torch.tensor(-1 if folder is None else step_of(folder), dtype=torch.int64)
        dist.broadcast(chosen, 0, group=self.group)
        return None if chosen < 0 else self.folder(int(chosen))

    def load(self, folder: Path, state: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Fill `state` in place; returns what was saved as `trainer`. Raises `Damaged` if it is not whole."""
        load(state, storage_reader=RestrictedReader(folder), process_group=self.group)
        self.newest = step_of(folder)
        return self.record(folder)

    def discard(self, folder: Path, why: str) -> None:
        """Pass a checkpoint over from here on."""
        if self.rank == 0:
            self.say(f"checkpoint {folder.name} is not whole: taking the one before it ({why})")
            shutil.rmtree(folder, ignore_errors=True)

    def kept_beside(self, folder: Path) -> list[Path]:
        """Files of the first process as they were when a checkpoint was made, if they are kept with it."""
        return []

    def record(self, folder: Path) -> dict[str, Any]:
        """What was saved as `trainer`."""
        record: dict[str, Any] = json.loads((folder / TRAINER).read_text())
        return record

    def close(self) -> None:
        """Wait and end the thread."""
        self.wait()
        self.thread.shutdown()
