"""Looking at what is there: lineage, rows, verification, garbage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.artifact import Manifest
from tasks.core.errors import ArtifactError, Conflict
from tasks.core.store import Store


def lineage(store: Store, start: Manifest) -> dict[str, Any]:
    """What an artifact was made from, as a tree of {step, shard, key, digest, made_by, adopted, inputs}."""
    inputs = []
    for ref in start.inputs:
        found = store.look(ref["step"], ref["key"])
        gone = {"step": ref["step"], "shard": ref["shard"], "key": ref["key"], "digest": ref["digest"], "gone": True}
        inputs.append(lineage(store, found) if isinstance(found, Manifest) else gone)
    adopted = (store.get_ref(f"adopted/{start.step}")[0] or {}).get(start.key, [])
    return {
        "step": start.step,
        "shard": start.shard,
        "key": start.key,
        "digest": start.digest,
        "made_by": start.made_by,
        "adopted": adopted,
        "inputs": inputs,
    }


def lineage_lines(tree: dict[str, Any], depth: int = 0, seen: set[str] | None = None) -> Iterator[str]:
    """The tree as indented lines; what was shown already is named once more, not repeated."""
    seen = set() if seen is None else seen
    shard = f"[{tree['shard']}]" if tree["shard"] else ""
    line = f"{'  ' * depth}{tree['step']}{shard} {tree['key'][:12]} → {tree['digest'][:12]}"
    made = tree.get("made_by", {})
    if tree.get("gone"):
        yield f"{line}  (not in the store any more)"
        return
    if tree["key"] in seen:
        if tree["inputs"]:
            line += "  (see above)"
        yield line
        return
    seen.add(tree["key"])
    commit = (made.get("git") or {}).get("commit")
    about = [str(made.get("finished", ""))[:19], f"on {made.get('host')}", f"{made.get('seconds')} s"]
    about += [f"commit {commit[:10]}{' (changed)' if made['git'].get('dirty') else ''}"] if commit else []
    about += [f"adopted {entry['at'][:19]}" for entry in tree["adopted"]]
    yield f"{line}  {', '.join(about)}"
    for item in tree["inputs"]:
        yield from lineage_lines(item, depth + 1, seen)


def show(store: Store, found: Manifest, rows: int, part: str | None, rejects: bool) -> Iterator[str]:
    """Statistics, files and the first rows of an artifact's tables; of what it dropped with `rejects`."""
    yield f"{found.step}/{found.key}" + (f"  shard {found.shard}" if found.shard else "")
    yield f"digest {found.digest}, made {found.made_by.get('finished')} in {found.made_by.get('seconds')} s"
    yield f"stats {json.dumps(found.stats, ensure_ascii=False, indent=1)}"
    root = store.local(found)
    prefix = f"content/{part}/" if part else "content/"
    files = [file for file in found.files if file.path.startswith("aux/" if rejects else prefix)]
    if part and not files:
        parts = sorted({file.path.split("/")[1] for file in found.files if file.path.count("/") > 1})
        raise ArtifactError(f"{found.step}/{found.key[:12]} has no part {part!r}; it has: {', '.join(parts) or 'none'}")
    for file in files:
        yield f"\n{file.path}  {file.size:,} bytes"
        yield from _rows(root / file.path, rows)


def _rows(path: Path, rows: int) -> Iterator[str]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        table = parquet.ParquetFile(path)
        yield f"  {table.metadata.num_rows:,} rows: {', '.join(table.schema_arrow.names)}"
        for batch in table.iter_batches(batch_size=max(rows, 1)):
            for row in batch.to_pylist()[:rows]:
                yield "  " + json.dumps({name: _short(value) for name, value in row.items()}, ensure_ascii=False)
            return
    elif path.suffix in (".json", ".jsonl", ".txt", ".md"):
        with path.open(errors="replace") as file:
            for _, line in zip(range(max(rows, 1) * 4), file, strict=False):
                yield f"  {_short(line.rstrip())}"


def _short(value: Any, limit: int = 160) -> Any:
    return f"{value[:limit]}… ({len(value):,} characters)" if isinstance(value, str) and len(value) > limit else value


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
        for key in sorted({name.split("/")[1] for name in listing if name.endswith("/manifest.json")}):
            found = store.look(step, key, listing)
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
