"""How far a corpus has moved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conf.schema.validate import DriftConf
from tasks.validate import distribution, drift
from tests.tasks.validate.conftest import artifact


def test_a_first_corpus_is_compared_with_nothing_and_a_later_one_with_the_last(tmp_path: Path) -> None:
    now, counts = {"rows": 30, "mean_length": 5.0}, np.array([1, 1, 0] + [0] * (distribution.BUCKETS - 3))
    assert drift.measured(now, counts, None) == now
    (tmp_path / "content").mkdir()
    before = {"corpus": {"rows": 40, "mean_length": 10.0}}
    (tmp_path / "content/verdict.json").write_text(json.dumps(before))
    distribution.write(tmp_path / "content/distribution.npy", np.roll(counts, 1))
    found = drift.measured(now, counts, artifact(tmp_path, "validate_corpus"))
    assert found == now | {"rows_ratio": 0.75, "mean_length_ratio": 0.5, "divergence": pytest.approx(0.5)}


def test_each_measure_has_its_limits_and_the_divergence_a_severity_of_its_own() -> None:
    conf = DriftConf(max_row_shrink=0.3, max_length_change=2, max_divergence=0.2, divergence_severity="critical")
    assert {one.column: (one.kwargs, one.severity) for one in drift.expected(conf)} == {
        "rows_ratio": ({"min_value": 0.7}, "warning"),
        "mean_length_ratio": ({"min_value": 0.0, "max_value": 3}, "warning"),
        "divergence": ({"max_value": 0.2}, "critical"),
    }
