"""What a report is made of: the record of a run, the artifacts that it names, and the small files in them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.artifact import Manifest
from tasks.core.step import labelled
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store

LIMIT = 16_000_000
"""Bytes: larger files of a store that is not on this machine are not brought here for a report."""


@dataclass(frozen=True)
class Step:
    """One line of a run's record, and its artifact if it is still there."""

    name: str
    shard: str | None
    state: str
    key: str | None
    seconds: float
    attempts: int
    message: str
    manifest: Manifest | None
    lost: str
    """Why an artifact that was there is not any more; empty if it is, or if there never was one."""

    @property
    def label(self) -> str:
        """STEP or STEP[SHARD]."""
        return labelled(self.name, self.shard)


@dataclass(frozen=True)
class Run:
    """A run as its record and its artifacts show it."""

    name: str
    """Under which the record is kept."""
    record: dict[str, Any]
    steps: tuple[Step, ...]
    store: Store

    @property
    def config(self) -> dict[str, Any]:
        """The recipe as it was carried out; empty in records that are older than its being kept."""
        return dict(self.record.get("config") or {})

    def of(self, *names: str) -> list[Manifest]:
        """The artifacts of these steps, each once, in the order of the run."""
        found = {step.manifest.key: step.manifest for step in self.steps if step.name in names and step.manifest}
        return list(found.values())

    def manifests(self) -> list[Manifest]:
        """All artifacts of the run, each once, in its order."""
        return list({m.step + m.key: m for step in self.steps if (m := step.manifest)}.values())

    def look(self, ref: dict[str, Any] | None) -> Manifest | None:
        """The artifact that a reference means, if it is whole."""
        found = self.store.look(ref["step"], ref["key"]) if ref else None
        return found if isinstance(found, Manifest) else None

    def open(self, manifest: Manifest, path: str) -> Path | io.BytesIO | None:
        """A file of an artifact; None if it has none of that name, or if it is far away and large."""
        entry = next((file for file in manifest.files if file.path == path), None)
        if entry is None:
            return None
        if isinstance(self.store.backend, LocalBackend):
            return self.store.local(manifest) / path
        if entry.size > LIMIT:
            return None
        return io.BytesIO(self.store.backend.read(f"{manifest.step}/{manifest.key}/{manifest.attempt}/{path}")[0])

    def read(self, manifest: Manifest, path: str) -> bytes | None:
        """The bytes of a small file, as `open`."""
        found = self.open(manifest, path)
        return found.read_bytes() if isinstance(found, Path) else found.getvalue() if found else None

    def read_json(self, manifest: Manifest | None, path: str) -> Any:
        """A JSON file of an artifact, None if it is not there."""
        data = self.read(manifest, path) if manifest else None
        return None if data is None else json.loads(data)

    def read_rows(self, manifest: Manifest, path: str) -> Iterator[dict[str, Any]]:
        """The rows of a JSON-lines file; a torn last line does not count."""
        data = self.read(manifest, path) or b""
        yield from (json.loads(line) for line in data.rpartition(b"\n")[0].splitlines() if line.strip())


def gather(store: Store, name: str, record: dict[str, Any]) -> Run:
    """The run with what is still there of its artifacts."""
    return Run(name, record, tuple(_step(store, raw) for raw in record.get("steps", ())), store)


def _step(store: Store, raw: dict[str, Any]) -> Step:
    made = bool(raw.get("key") and raw.get("digest"))
    found = store.look(raw["step"], raw["key"]) if made else None
    whole = found if isinstance(found, Manifest) else None
    return Step(
        name=raw["step"],
        shard=raw.get("shard"),
        state=raw.get("state") or "skipped",
        key=raw.get("key"),
        seconds=float(raw.get("seconds") or 0.0),
        attempts=int(raw.get("attempts") or 0),
        message=raw.get("message") or "",
        manifest=whole,
        lost=getattr(found, "reason", "") if made and whole is None else "",
    )
