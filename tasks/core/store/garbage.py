"""Looking at what is there: lineage, rows, verification, garbage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from tasks.core.artifact import Manifest
from tasks.core.errors import Conflict
from tasks.core.store.store import Store


def verify(store: Store, found: Iterable[Manifest], forget: bool = False) -> Iterator[tuple[str, int]]:
    """A line per artifact and how many of its files are damaged; every byte is hashed again.

    With `forget` a damaged artifact is removed, unless a run is at work on it.
    """
    for manifest in found:
        wrong = store.verify(manifest)
        label = f"{manifest.step}/{manifest.key[:12]}"
        yield (f"x {label}: {'; '.join(wrong)}" if wrong else f"+ {label}  {len(manifest.files)} files"), len(wrong)
        if wrong and forget:
            _removed(store, f"{manifest.step}/{manifest.key}", dry_run=False)


def broken(store: Store) -> Iterator[str]:
    """Manifests whose files are missing or cut short: they count as not made."""
    for step in store.steps():
        listing = store.listing(step)
        keys = sorted({name.split("/")[1] for name in listing if name.endswith("/manifest.json")})
        for key, found in store.look_at(step, keys, listing).items():
            if not isinstance(found, Manifest):
                yield f"{step}/{key[:12]}: {found.reason}"


def garbage(store: Store, kept: Iterable[str], keep_runs: int, days: float, dry_run: bool) -> Iterator[str]:
    """Remove artifacts that nothing needs and work directories that nobody continues.

    Needed are: what refs, the artifacts in `kept` (STEP/KEY) and the newest `keep_runs` runs of each recipe name, all
    that those were made from, and whatever is younger than `days`.
    """
    known = {f"{m.step}/{m.key}": m for m in store.manifests()}
    needed = _closure(known, [*kept, *_named(list(store.refs().values())), *_in_runs(store, keep_runs)])
    now, freed = datetime.now(UTC), 0
    for name, manifest in known.items():
        finished = manifest.made_by.get("finished")
        age = (now - datetime.fromisoformat(finished)).total_seconds() / 86400 if finished else days
        if name in needed or age < days or not _removed(store, name, dry_run):
            continue
        size = sum(file.size for file in manifest.files)
        freed += size
        yield f"{name[: name.find('/') + 13]}  {size / 1e6:.1f} MB, {age:.0f} days old"
    for prefix in store.leftovers(days):
        if _removed(store, prefix, dry_run):
            yield f"{prefix}  left over"
    yield f"{'would free' if dry_run else 'freed'} {freed / 1e6:.1f} MB"


def _removed(store: Store, name: str, dry_run: bool) -> bool:
    """Remove unless somebody holds the lease of its key."""
    parts = name.removeprefix("_work/").split("/")
    try:
        with store.lock(f"{parts[0]}/{parts[1]}", 0.0):
            if not dry_run:
                store.backend.remove(f"{name}/")
    except Conflict:
        return False
    return True


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "step" in value and "key" in value:
            yield f"{value['step']}/{value['key']}"
        for item in value.values():
            yield from _named(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item)


def _in_runs(store: Store, keep_runs: int) -> Iterator[str]:
    seen: dict[str, int] = {}
    for record in reversed(store.runs().values()):
        seen[record["recipe"]] = seen.get(record["recipe"], 0) + 1
        if seen[record["recipe"]] <= keep_runs:
            yield from (f"{step['step']}/{step['key']}" for step in record["steps"] if step["key"])


def _closure(known: dict[str, Manifest], names: Iterable[str]) -> set[str]:
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [f"{ref['step']}/{ref['key']}" for ref in known[name].inputs] if name in known else []
    return needed
