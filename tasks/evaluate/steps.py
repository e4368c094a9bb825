"""Evaluation on the frozen held-out documents, and the gate that compares two evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conf.schema.evaluate import GateConf
from tasks.core.artifact import Artifact
from tasks.core.step import Stats, step
from tasks.core.workdir import Workdir

if TYPE_CHECKING:
    from tasks.core.store.store import Store

LIBRARIES = ("torch", "transformers", "polars", "numpy", "scikit-learn")


@step(libraries=("polars", "numpy"))
def gate(candidate: Artifact, champion: Artifact | None, *baselines: Artifact, conf: GateConf, work: Workdir) -> Stats:
    """May the candidate take the champion's place? Evaluations → decision.json; a refusal is a result."""
    from tasks.evaluate import decision

    return decision.run(candidate, champion, baselines, conf, work)


def compare_versions(
    store: Store, old: dict[str, Any], new: dict[str, Any], resamples: int, confidence: float
) -> Stats:
    """Two measured versions of a model (see `tasks.register.steps.measured`) on the same items; decides nothing."""
    from tasks.evaluate import versions

    return versions.compare(store, old, new, resamples, confidence)
