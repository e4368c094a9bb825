"""Two versions of a registered model, compared on the same evaluation items whenever they were measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from conf.schema.evaluate import GateConf
from tasks.core.artifact import Manifest
from tasks.core.errors import ArtifactError
from tasks.core.store.store import Store
from tasks.evaluate.compare import paired_bootstrap
from tasks.formats.evaluation import read_items
from tasks.models import kind

EVALSET = ("freeze_evalset", "strike_evalset")
FEWEST = GateConf().min_items
"""With fewer items the gate trusts no comparison; nor does this."""


def compare(
    store: Store, old: dict[str, Any], new: dict[str, Any], resamples: int, confidence: float, seed: int = 0
) -> dict[str, Any]:
    """{old, new, evalset, metrics: [{metric, higher_is_better, old, new, gain, low, high, p, items, verdict}]}.

    A gain is turned so that more is better for the new one. Raises `ArtifactError` if the store holds no evaluation of
    both on one evaluation set.
    """
    ours, theirs = _on_one_set(store, new, old)
    tables = [read_items(store.artifact(one)) for one in (ours, theirs)]
    metrics = []
    measured = kind.measured_by(ours.step)
    if measured is None:
        raise ArtifactError(f"{ours.step} measures no kind of models that is known here")
    for metric in (measured.metrics()[one.name] for one in measured.compared):
        found = asdict(paired_bootstrap(tables[0], tables[1], metric, seed, resamples, confidence))
        verdict = "new is better" if found["low"] > 0 else "old is better" if found["high"] < 0 else "not proven"
        verdict = verdict if found["items"] >= FEWEST else "too few items"
        kept = {name: found[name] for name in ("gain", "low", "high", "p", "items")}
        sides = {"old": found["champion"], "new": found["candidate"]}
        better = metric.higher_is_better
        metrics.append({"metric": metric.name, "higher_is_better": better, **sides, **kept, "verdict": verdict})
    about = [{name: one[name] for name in ("name", "version", "digest")} for one in (old, new)]
    return {
        "old": about[0], "new": about[1], "evalset": _input(ours, EVALSET), "confidence": confidence, "metrics": metrics
    }  # fmt: skip


def _on_one_set(store: Store, new: dict[str, Any], old: dict[str, Any]) -> tuple[Manifest, Manifest]:
    """The evaluations of both with the same evaluation set and options: as registered, else any that the store has."""
    candidates = [_evaluations(store, one) for one in (new, old)]
    for ours in candidates[0]:
        for theirs in candidates[1]:
            if _measured_by(ours) == _measured_by(theirs):
                return ours, theirs
    shown = [f"version {one['version']} on {_input(found[0], EVALSET)[:12]}" for one, found in
             zip((new, old), candidates, strict=True)]  # fmt: skip
    name = old["name"]
    raise ArtifactError(
        f"the two versions of {name} were measured on other evaluation sets or with other options: {', '.join(shown)}. "
        f"Make version {old['version']} champion (`fromzero promote {name} {old['version']} --force`) and run the "
        "recipe of the other one again: a run measures the champion on its own items. Then compare; "
        "`fromzero rollback` takes the champion back"
    )


def _evaluations(store: Store, one: dict[str, Any]) -> list[Manifest]:
    """What the store holds of a version's evaluations, the registered one first."""
    step, _, key = one["evaluation"].partition("/")
    found = [
        manifest for manifest in store.manifests(step) if one["digest"] in {ref["digest"] for ref in manifest.inputs}
    ]
    found.sort(key=lambda manifest: manifest.key != key)
    if not found:
        raise ArtifactError(
            f"the evaluation of {one['name']} version {one['version']} ({step}/{key[:12]}) is not in the store any "
            "more: run the recipe that made it again"
        )
    return found


def _measured_by(manifest: Manifest) -> tuple[Any, ...]:
    return manifest.step, _input(manifest, EVALSET), str(manifest.made_from.get("conf"))


def _input(manifest: Manifest, steps: tuple[str, ...]) -> str:
    return next((str(ref["digest"]) for ref in manifest.inputs if ref["step"] in steps), "no evaluation set")
