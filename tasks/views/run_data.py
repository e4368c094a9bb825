"""What is known of a run: its record or, while it goes on, its outcomes; the artifacts that these name, looked up when
they are asked for, and the small files in them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.core.artifact import Manifest
from tasks.core.engine.workspace import Outcome
from tasks.core.step import labelled
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Miss, Store

REGISTERING = ("register_model", "promote_model")
LIMIT = 16_000_000
"""Bytes: larger files of a store that is not on this machine are not brought here to be shown."""


class Together:
    """The artifacts of a run's calls: those of one step are looked at together, once any of them is asked for."""

    def __init__(self, store: Store, artifacts: Iterable[tuple[str, str | None]]) -> None:
        """`artifacts` are steps and keys."""
        self._store, self._keys = store, dict[str, list[str]]()
        self._found: dict[str, dict[str, Manifest | Miss]] = {}
        for step, key in artifacts:
            if key:
                self._keys.setdefault(step, []).append(key)

    def look(self, step: str, key: str) -> Manifest | Miss:
        """The artifact, or why it is not there any more."""
        if step not in self._found:
            self._found[step] = self._store.look_at(step, self._keys[step])
        return self._found[step][key]


@dataclass(frozen=True)
class Step:
    """One call of a step, and its artifact if it is still there."""

    name: str
    shard: str | None
    state: str
    key: str | None
    seconds: float
    attempts: int
    message: str
    store: Store | None
    """Where its artifact is; None of a call that made none."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """Its statistics, where the run itself tells them."""
    came_from: tuple[Mapping[str, Any], ...] | None = None
    """As `inputs`, where the run itself tells them."""
    together: Together | None = None
    """What looks at its artifact with those of other calls."""

    @cached_property
    def _found(self) -> Manifest | Miss | None:
        if not (self.store and self.key):
            return None
        return self.together.look(self.name, self.key) if self.together else self.store.look(self.name, self.key)

    @property
    def manifest(self) -> Manifest | None:
        """Its artifact; None if there is none, or none any more."""
        return self._found if isinstance(self._found, Manifest) else None

    @property
    def lost(self) -> str:
        """Why an artifact that was there is not any more; empty if it is, or if there never was one."""
        return self._found.reason if isinstance(self._found, Miss) else ""

    @property
    def stats(self) -> Mapping[str, Any]:
        """Its statistics; empty if nobody knows them any more."""
        return self.told or (self.manifest.stats if self.manifest else {})

    @property
    def inputs(self) -> tuple[Mapping[str, Any], ...] | None:
        """What its artifact was made from, as references; None if there is none, or none any more."""
        if self.came_from is not None:
            return self.came_from
        return self.manifest.inputs if self.manifest else None

    @property
    def path(self) -> str:
        """STEP/KEY."""
        return f"{self.name}/{self.key}"

    @property
    def label(self) -> str:
        """STEP or STEP[SHARD]."""
        return labelled(self.name, self.shard)


@dataclass(frozen=True)
class Run:
    """A run as its record and its artifacts show it."""

    name: str
    """Under which the record is kept."""
    record: Mapping[str, Any]
    steps: tuple[Step, ...]
    store: Store | None

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

    def stats(self, step: str) -> list[Mapping[str, Any]]:
        """The statistics of a step, those of each artifact once."""
        found = {(one.shard, one.key): one.stats for one in self.steps if one.name == step}
        return [stats for stats in found.values() if stats]

    def look(self, ref: Mapping[str, Any]) -> Step:
        """The artifact that a reference means, as a step of some run."""
        return referenced(self.store, ref)

    def open(self, manifest: Manifest, path: str) -> Path | io.BytesIO | None:
        """A file of an artifact; None if it has none of that name, or if it is far away and large."""
        entry = next((file for file in manifest.files if file.path == path), None)
        if entry is None or self.store is None:
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


def referenced(store: Store | None, ref: Mapping[str, Any]) -> Step:
    """The artifact that a reference means, as a step of some run."""
    return Step(ref["step"], ref.get("shard"), "cached", ref["key"], 0.0, 0, "", store)


def gather(store: Store, name: str, record: Mapping[str, Any]) -> Run:
    """A run of which a record was kept."""
    steps = record.get("steps", ())
    together = Together(store, [(raw["step"], raw.get("key")) for raw in steps if raw.get("digest")])
    return Run(name, record, tuple(_recorded(store, raw, together) for raw in steps), store)


def _recorded(store: Store, raw: Mapping[str, Any], together: Together) -> Step:
    return Step(
        name=raw["step"],
        shard=raw.get("shard"),
        state=raw.get("state") or "skipped",
        key=raw.get("key"),
        seconds=float(raw.get("seconds") or 0.0),
        attempts=int(raw.get("attempts") or 0),
        message=raw.get("message") or "",
        store=store if raw.get("digest") else None,
        together=together,
    )


def running(store: Store | None, record: Mapping[str, Any], outcomes: Iterable[Outcome]) -> Run:
    """A run that has these outcomes so far; of its record as much as there is."""
    outcomes = list(outcomes)
    together = Together(store, [(one.step, one.key) for one in outcomes if one.digest]) if store else None
    steps = tuple(
        Step(
            one.step, one.shard, one.state, one.key, one.seconds, one.attempts, one.message,
            store if one.digest else None, one.stats, one.inputs, together,
        )
        for one in outcomes
    )  # fmt: skip
    return Run(str(record.get("name", "")), record, steps, store)


def registered(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """What the statistics of the steps that register and promote say of each model, in the order of the run."""
    found: dict[str, dict[str, Any]] = {}
    for one in outcomes:
        if one.step in REGISTERING and "version" in one.stats:
            found.setdefault(one.stats["name"], {}).update(one.stats)
    return list(found.values())
