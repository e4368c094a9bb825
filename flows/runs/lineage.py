"""What an artifact was made from, back to the sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.core.artifact import Manifest
from tasks.core.store.store import Store


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
