"""What a store has of a step: looked at once, whole, for plans, which also learn from what was made before."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from tasks.core.artifact import Artifact, Manifest
from tasks.core.store.listed import Listing
from tasks.core.store.store import Miss, Store


class History:
    """The artifacts of steps, by one listing of each step."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._listings: dict[str, Listing] = {}
        self._past: dict[str, list[Manifest]] = {}
        self._by_key: dict[str, dict[str, Manifest]] = {}
        self._by_shard: dict[str, dict[str | None, list[Manifest]]] = {}
        self._sizes: dict[str, list[tuple[int, int, Manifest]]] = {}
        """Of each step's artifacts the bytes of their inputs, where known, and their places in the history; sorted."""

    def look_at(self, step: str, keys: Sequence[str]) -> dict[str, Manifest | Miss]:
        """The artifacts at these keys, or why there are none."""
        return self.store.look_at(step, keys, self._listing(step)) if keys else {}

    def _listing(self, step: str) -> Listing:
        if step not in self._listings:
            self._listings[step] = self.store.listing(step)
        return self._listings[step]

    def of(self, step: str) -> list[Manifest]:
        """All artifacts of a step, the newest last."""
        if step not in self._past:
            known = self.store.manifests(step, self._listing(step))
            self._past[step] = sorted(known, key=lambda m: str(m.made_by.get("finished")))
        return self._past[step]

    def of_shard(self, step: str, shard: str | None) -> list[Manifest]:
        """Those of one shard, the newest last."""
        if step not in self._by_shard:
            found = self._by_shard.setdefault(step, {})
            for manifest in self.of(step):
                found.setdefault(manifest.shard, []).append(manifest)
        return self._by_shard[step].get(shard, [])

    def like(self, step: str, shard: str | None, size: float | None) -> tuple[Manifest | None, float]:
        """The artifact of the step whose inputs were most nearly of `size` bytes, and how many times as large that is.

        Where sizes are not known, the newest artifact of the shard, or of the step, and 1.
        """
        past = self.of(step)
        if step not in self._sizes:
            sized = [(self._taken(manifest), n, manifest) for n, manifest in enumerate(past)]
            self._sizes[step] = sorted((taken, n, manifest) for taken, n, manifest in sized if taken)
        known = self._sizes[step]
        if size and known:
            place = bisect_left(known, (size + 1,))
            around = [known[place - 1], *known[place : place + 1]] if place else known[:1]
            taken, _, manifest = min(around, key=lambda one: max(one[0], size) / min(one[0], size))
            return manifest, size / taken
        newest = self.of_shard(step, shard) or past
        return (newest[-1] if newest else None), 1.0

    def _taken(self, manifest: Manifest) -> int:
        """Bytes of what an artifact was made from; 0 where that is not known any more."""
        found = sum(bytes_listed(item["value"]) for item in manifest.made_from["inputs"] if isinstance(item, dict))
        for ref in manifest.inputs:
            if ref["step"] not in self._by_key:
                self._by_key[ref["step"]] = {one.key: one for one in self.of(ref["step"])}
            made = self._by_key[ref["step"]].get(ref["key"])
            if made is None:
                return 0
            found += Artifact.of(made).size(ref["part"])
        return found


def bytes_listed(value: Any) -> int:
    """Bytes of the files that an observation lists as entries; 0 of any other."""
    entries = value.get("entries", ()) if isinstance(value, dict) else ()
    return sum(int(entry.get("size") or 0) for entry in entries)
