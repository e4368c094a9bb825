"""Checkpoints that are either whole or not there.

The Trainer writes a folder file by file. A folder counts only once it holds a marker with the sha256 of every file in
it, written after everything has reached the disk; a folder without one, or whose files no longer fit, is ignored.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tasks.core.artifact import hash_file
from tasks.core.errors import ArtifactError
from tasks.core.inner_path import InnerPath
from tasks.core.small_files import write_atomically

MARKER = "whole.json"


def step_of(folder: Path) -> int:
    """The optimizer step in a folder's name, checkpoint-STEP."""
    return int(folder.name.rpartition("-")[2])


def seal(folder: Path) -> None:
    """Bring every file of a checkpoint to the disk, then write its marker."""
    hashes = {}
    for path in sorted(folder.iterdir()):
        _sync(path)
        hashes[path.name] = hash_file(path)
    write_atomically(folder / MARKER, json.dumps(hashes, sort_keys=True).encode())
    _sync(folder)
    _sync(folder.parent)


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint has its marker and exactly the bytes that the marker names."""
    try:
        hashes = json.loads((folder / MARKER).read_text())
        return bool(hashes) and all(hash_file(InnerPath(name).below(folder)) == hashes[name] for name in hashes)
    except (FileNotFoundError, NotADirectoryError, ValueError, ArtifactError):
        return False


def newest(root: Path) -> Path | None:
    """The newest whole checkpoint under `root`; torn and damaged ones are said so and removed."""
    for folder in sorted(root.glob("checkpoint-*"), key=step_of, reverse=True):
        if is_whole(folder):
            return folder
        print(f"{folder.name} is torn or damaged: going on from the one before", flush=True)
        discard(folder)
    return None


def prune(root: Path, keep: set[int]) -> None:
    """Remove every checkpoint whose step is not in `keep`."""
    for folder in root.glob("checkpoint-*"):
        if step_of(folder) not in keep:
            discard(folder)


def discard(folder: Path) -> None:
    """Remove a checkpoint, its marker first, so that a half-removed one is never taken for whole."""
    (folder / MARKER).unlink(missing_ok=True)
    _sync(folder)
    shutil.rmtree(folder)


def trainer_state(folder: Path) -> dict[str, Any]:
    """The Trainer's own state in a checkpoint: global_step, max_steps, log_history."""
    state: dict[str, Any] = json.loads((folder / "trainer_state.json").read_text())
    return state


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
