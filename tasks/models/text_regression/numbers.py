"""Numbers that are said of texts: those of documents, and how well others fit them."""

from __future__ import annotations

import numpy as np
import polars as pl

from tasks.evaluate.bootstrap import Floats, with_interval
from tasks.evaluate.metric import ItemMetric, mean, ratio
from tasks.formats.documents import with_targets
from tasks.models.text_regression import number_metrics
from tasks.models.text_regression.number_options import RegressionEval
from tasks.text import targets


def numbers_of(table: pl.LazyFrame) -> pl.DataFrame:
    """(id, text, number) of the documents with a number, in order of id."""
    found = with_targets(table)
    held = [targets.read(one).get("number") for one in found["targets"]]
    whole = found.select("id", "text").with_columns(pl.Series("number", held, dtype=pl.Float64))
    return whole.filter(pl.col("number").is_not_null())


def _errors(items: pl.DataFrame) -> Floats:
    """(items, 2): the square of the error, 1."""
    return items.select(pl.col("error") ** 2, pl.lit(1.0).alias("one")).to_numpy()


def _spread(items: pl.DataFrame) -> Floats:
    """(items, 4): the square of the error, 1, the number, its square."""
    number = pl.col("number")
    return np.concatenate([_errors(items), items.select(number, (number**2).alias("square")).to_numpy()], axis=1)


def _rmse(sums: Floats) -> Floats:
    found: Floats = np.sqrt(mean(sums))
    return found


def _r2(sums: Floats) -> Floats:
    spread = sums[..., 3] - sums[..., 2] ** 2 / sums[..., 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(spread > 0, 1 - sums[..., 0] / spread, np.nan)
    return found


MAE = ItemMetric(number_metrics.MAE, ("error",), lambda items: ratio(items, "error", pl.lit(1.0)), mean)
RMSE = ItemMetric(number_metrics.RMSE, ("error",), _errors, _rmse)
R2 = ItemMetric(number_metrics.R2, ("error", "number"), _spread, _r2)


def measure(items: pl.DataFrame, conf: RegressionEval) -> dict[str, float]:
    """mae, rmse and r2 of items (number, error), each with _lo and _hi; r2 only where the numbers differ."""
    found: dict[str, float] = {}
    for one in (MAE, RMSE, R2):
        if one is not R2 or items["number"].n_unique() > 1:
            found |= with_interval(one.name, one.columns(items), one.value, conf.resamples, conf.seed, conf.confidence)
    return found
