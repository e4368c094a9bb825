"""Errors of numbers, and baselines for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from tasks.finetune.examples import whole_texts
from tasks.formats.tokens import IGNORE
from tasks.models.text_regression import number_training
from tasks.models.text_regression.number_evaluation import baselines
from tasks.models.text_regression.number_options import RegressConf, RegressionEval
from tasks.models.text_regression.numbers import measure


@given(st.integers(0, 1000))
def test_the_errors_are_scikit_learns(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth, said = draw.normal(3, 2, 40), draw.normal(3, 2, 40)
    found = measure(pl.DataFrame({"number": truth, "error": np.abs(said - truth)}), RegressionEval(resamples=100))
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, said))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(truth, said))
    assert found["r2"] == pytest.approx(r2_score(truth, said))
    assert found["mae_lo"] <= found["mae"] <= found["mae_hi"]


def test_of_equal_numbers_no_share_of_the_variance_is_said() -> None:
    found = measure(pl.DataFrame({"number": [2.0] * 5, "error": [0.5] * 5}), RegressionEval(resamples=100))
    assert found["mae"] == 0.5 and "r2" not in found


def test_ridge_knows_what_words_are_worth_and_the_mean_nothing() -> None:
    seen = pl.DataFrame({"text": ["good tea", "bad tea"] * 20, "number": [5.0, 1.0] * 20})
    found = baselines(seen, pl.DataFrame({"text": ["good", "bad"]}), 100)
    assert found["mean"].tolist() == [3.0, 3.0] and found["ridge"][0] > 3.5 > 2.5 > found["ridge"][1]


def test_every_number_counts_also_what_stands_for_no_label_elsewhere(model_dir: Path) -> None:
    conf, numbers = RegressConf(ngrams=0), [IGNORE, 0.0, 100.0]
    table = pl.DataFrame({"number": [float(one) for one in numbers]})
    mean, spread = float(np.mean(numbers)), float(np.std(numbers))
    rows = number_training._rows(table, [[5, 6], [7], [8, 9]], mean, spread)
    loss = number_training.NumberLoss(number_training.make_network(model_dir, mean, spread, conf), "mse").eval()
    arrays = whole_texts(0)(rows)
    assert loss.weight(arrays) == 3
    with torch.no_grad():
        said = [float(loss.model(input_ids=torch.tensor([row["input_ids"]])).logits) for row in rows]
        found = float(loss(*map(torch.from_numpy, arrays))[0])
    wanted = sum(((one - other) / spread) ** 2 for one, other in zip(said, numbers, strict=True))
    assert found == pytest.approx(wanted, rel=1e-4)
