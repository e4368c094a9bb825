"""Is the candidate better than another model? A paired bootstrap on the same evaluation items.

Items are drawn with replacement and both models are measured on each draw (Efron & Tibshirani 1993, An Introduction to
the Bootstrap; Koehn 2004, Statistical Significance Tests for Machine Translation Evaluation), so that how hard an item
is for both does not blur the difference between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.core.errors import ArtifactError
from tasks.evaluate.bootstrap import interval, resampled_sums
from tasks.evaluate.metric import ItemMetric


@dataclass(frozen=True)
class Comparison:
    """Two models on the same items."""

    candidate: float
    champion: float
    gain: float
    """Their difference, turned so that more is better for the candidate."""
    low: float
    """Of the gain's two-sided percentile interval."""
    high: float
    p: float
    """One-sided: the share of resamples in which the candidate gains nothing, (k + 1) / (resamples + 1)."""
    items: int


def joined(candidate: pl.DataFrame, champion: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables in order of id; raises `ArtifactError` unless they are about the same items."""
    ours, theirs = candidate.sort("id"), champion.sort("id")
    given = [name for name in ("id", "bytes", "label") if name in ours.columns and name in theirs.columns]
    if not ours.select(given).equals(theirs.select(given)) or ours["id"].is_duplicated().any():
        only_ours, only_theirs = (len({*a["id"]} - {*b["id"]}) for a, b in ((ours, theirs), (theirs, ours)))
        raise ArtifactError(
            f"candidate and champion were evaluated on different items ({only_ours} only of the candidate, "
            f"{only_theirs} only of the champion): evaluate the champion on the candidate's evaluation set first"
        )
    return ours, theirs


def paired_bootstrap(
    candidate: pl.DataFrame, champion: pl.DataFrame, metric: ItemMetric, seed: int, resamples: int, confidence: float
) -> Comparison:
    """Compare two models on their items (id, and what the metric needs), joined by id.

    Both are summed over the same draws. Raises `ArtifactError` if the items differ or lack a column.
    """
    for name, table in (("candidate", candidate), ("champion", champion)):
        if missing := set(metric.needs) - set(table.columns):
            raise ArtifactError(
                f"the {name}'s items have no {sorted(missing)}: {metric.name} cannot be computed from them"
            )
    ours, theirs = joined(candidate, champion)
    both = metric.columns(pl.concat([ours.select(metric.needs), theirs.select(metric.needs)]))
    sides = np.split(both, 2)
    sign = 1.0 if metric.higher_is_better else -1.0
    sums = [resampled_sums(side, resamples, seed) for side in sides]
    drawn = sign * (metric.value(sums[0]) - metric.value(sums[1]))
    value, other = (float(metric.value(side.sum(axis=0))) for side in sides)
    low, high = interval(drawn, confidence)
    p = (int((drawn <= 0).sum()) + 1) / (resamples + 1)
    return Comparison(value, other, sign * (value - other), low, high, p, ours.height)


def of_baseline(items: pl.DataFrame, baseline: str, metric: ItemMetric) -> pl.DataFrame:
    """What the baseline makes of the same items: its columns, `BASELINE_COLUMN`, in place of the model's.

    Raises `ArtifactError` if the baseline was not measured on them.
    """
    own = {f"{baseline}_{name}": name for name in items.columns if f"{baseline}_{name}" in items.columns}
    if not set(metric.needs) & set(own.values()):
        raise ArtifactError(f"the evaluation has not measured {baseline}: {metric.name} cannot be compared with it")
    return items.drop(own.values()).rename(own)
