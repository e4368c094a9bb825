"""An artifact as lines in a terminal: statistics, files, the first rows of its tables; what it was made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.artifact import Manifest
from tasks.core.errors import ArtifactError
from tasks.core.store.store import Store


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


def lineage(tree: dict[str, Any], depth: int = 0, seen: set[str] | None = None) -> Iterator[str]:
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
        yield from lineage(item, depth + 1, seen)
