"""How far a corpus has moved from the last one that was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from conf.schema.validate import DriftConf, ExpectationConf
from tasks.core.artifact import Artifact
from tasks.formats.verdicts import corpus_in
from tasks.validate import distribution

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def measured(corpus: Mapping[str, Any], counts: NDArray[np.int64], previous: Artifact | None) -> dict[str, Any]:
    """The corpus' row with how it compares to the last accepted verdict, if there is one.

    rows_ratio, mean_length_ratio (now over then) and divergence (bits).
    """
    if previous is None:
        return dict(corpus)
    before = corpus_in(previous)
    return {
        **corpus,
        "rows_ratio": corpus["rows"] / max(1, before["rows"]),
        "mean_length_ratio": corpus["mean_length"] / max(1.0, before["mean_length"]),
        "divergence": distribution.divergence(counts, distribution.read([previous / distribution.FILE])),
    }


COMPARED = ("rows_ratio", "mean_length_ratio", "divergence")
"""Columns of the corpus' row that `measured` adds."""


def expected(conf: DriftConf) -> list[ExpectationConf]:
    """The expectations on what `measured` compares."""
    longer, shorter = 1 + conf.max_length_change, max(0.0, 1 - conf.max_length_change)
    wanted: list[tuple[str, dict[str, float], str]] = [
        ("rows_ratio", {"min_value": 1 - conf.max_row_shrink}, conf.severity),
        ("mean_length_ratio", {"min_value": shorter, "max_value": longer}, conf.severity),
        ("divergence", {"max_value": conf.max_divergence}, conf.divergence_severity),
    ]
    name = "expect_column_values_to_be_between"
    return [
        ExpectationConf.model_validate(
            {"expectation": name, "column": column, "kwargs": limits, "severity": severity, "table": "corpus"}
        )
        for column, limits, severity in wanted
    ]
