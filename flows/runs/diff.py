"""What differs between two runs: options, data, code, metrics, samples; from their records and manifests."""

from __future__ import annotations

from typing import Any

from conf.schema.base import present_name
from conf.schema.recipe import Recipe
from tasks.core.artifact import Manifest
from tasks.core.plan.keys import flat
from tasks.core.store.store import Store
from tasks.formats.metrics import ENDS, valued

COUNTS = ("documents", "rows", "tokens")
"""Statistics that say how much data a step has made; of several the first one counts."""

Record = dict[str, Any]


def diff(store: Store, old: Record, new: Record) -> dict[str, Any]:
    """The differences as JSON: runs, config, data, code, metrics, samples; each part empty where nothing differs."""
    before, after = _Made(store, old), _Made(store, new)
    return {
        "runs": [{name: record[name] for name in ("run", "name", "state", "started")} for record in (old, new)],
        "config": _config(before, after),
        "without_config": [record["run"] for record in (old, new) if not record.get("config")],
        "data": _data(before, after),
        "code": _code(before, after),
        "metrics": _metrics(old["metrics"], new["metrics"]),
        "samples": _samples(old.get("samples") or {}, new.get("samples") or {}),
        "gone": sorted({*before.gone, *after.gone}),
    }


class _Made:
    """A run's record with the manifests of what it made or reused."""

    def __init__(self, store: Store, record: Record) -> None:
        self.record = record
        self.gone: list[str] = []
        self.manifests: dict[tuple[str, str | None], Manifest] = {}
        self.digests: dict[tuple[str, str | None], str] = {}
        for step in record["steps"]:
            if not step["key"] or not step["digest"]:
                continue
            name = (step["step"], step["shard"])
            self.digests.setdefault(name, step["digest"])
            found = store.look(step["step"], step["key"])
            if isinstance(found, Manifest):
                self.manifests.setdefault(name, found)
            else:
                self.gone.append(f"{step['step']}/{step['key'][:12]}")

    def step_options(self) -> dict[str, Any]:
        """The options that each step was made with."""
        per_step = {step: manifest.made_from.get("conf") for (step, _), manifest in self.manifests.items()}
        return {step: conf for step, conf in per_step.items() if conf}

    def code(self) -> dict[str, tuple[str, set[str]]]:
        """Modules, libraries and data files by name: digest or version, and the steps that reach them."""
        found: dict[str, tuple[str, set[str]]] = {}
        for (step, _), manifest in self.manifests.items():
            for module, digest in (manifest.made_by.get("code") or {}).items():
                found.setdefault(module, (digest, set()))[1].add(step)
        return found

    def counts(self) -> dict[str, int]:
        """STEP.COUNT of each step that makes rows, documents or tokens, summed over its shards."""
        sums: dict[str, int] = {}
        for (step, _), manifest in self.manifests.items():
            name = next((name for name in COUNTS if isinstance(manifest.stats.get(name), int)), None)
            if name is not None:
                sums[f"{step}.{name}"] = sums.get(f"{step}.{name}", 0) + manifest.stats[name]
        return sums


def _config(before: _Made, after: _Made) -> list[dict[str, Any]]:
    """Of whole recipes, or, where a record does not hold its own, of the steps that both runs have."""
    if all(made.record.get("config") for made in (before, after)):
        return _changes(*(_by_present_names(flat(made.record["config"])) for made in (before, after)))
    old, new = before.step_options(), after.step_options()
    both = old.keys() & new.keys()
    return _changes(*(flat({step: confs[step] for step in both}) for confs in (old, new)))


def _by_present_names(options: dict[str, Any]) -> dict[str, Any]:
    """A record holds a recipe by the names of its time."""
    return {present_name(name, Recipe): value for name, value in options.items()}


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    names = sorted(old.keys() | new.keys())
    rows = [{"name": name, "old": old.get(name), "new": new.get(name)} for name in names]
    return [row for row in rows if row["old"] != row["new"]]


def _data(before: _Made, after: _Made) -> dict[str, Any]:
    """Shards by the digest of the first step that has them: what was fetched."""
    old, new = _shards(before), _shards(after)
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(shard for shard in old.keys() & new.keys() if old[shard] != new[shard]),
        "counts": _changes(before.counts(), after.counts()),
    }


def _shards(made: _Made) -> dict[str, str]:
    first = next((step for step, shard in made.digests if shard), None)
    return {shard: digest for (step, shard), digest in made.digests.items() if step == first and shard}


def _code(before: _Made, after: _Made) -> list[dict[str, Any]]:
    """Only of steps that both have: another recipe is no change of code."""
    common = {step for step, _ in before.manifests} & {step for step, _ in after.manifests}
    old, new = before.code(), after.code()
    rows = []
    for module in sorted(old.keys() | new.keys()):
        ours, theirs = (old.get(module) or ("", set())), (new.get(module) or ("", set()))
        steps = sorted((ours[1] | theirs[1]) & common)
        if ours[0] != theirs[0] and steps:
            rows.append({"module": module, "old": ours[0] or None, "new": theirs[0] or None, "steps": steps})
    return rows


def _metrics(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for step in dict.fromkeys([*old, *new]):
        sides = [old.get(step, {}), new.get(step, {})]
        for name in dict.fromkeys([*sides[0], *sides[1]]):
            if not name.endswith(ENDS):
                before, after = (valued(side, name) if name in side else None for side in sides)
                values = [found["value"] for found in (before, after) if found]
                numbers = len(values) == 2 and all(isinstance(value, (int, float)) for value in values)
                difference = values[1] - values[0] if numbers else None
                rows.append({"step": step, "name": name, "old": before, "new": after, "difference": difference})
    return [row for row in rows if row["old"] != row["new"]]


def _samples(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """What both models wrote to the same prompt in the same way, where it differs."""
    rows = []
    for step in [step for step in old if step in new]:
        theirs = {(sample["prompt"], sample["how"]): sample["text"] for sample in new[step]}
        for sample in old[step]:
            after = theirs.get((sample["prompt"], sample["how"]))
            if after is not None and after != sample["text"]:
                rows.append({"step": step, "prompt": sample["prompt"], "how": sample["how"], "old": sample["text"],
                             "new": after})  # fmt: skip
    return rows
