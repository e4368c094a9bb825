"""The metrics of models that say a number, as people know them."""

from __future__ import annotations

from tasks.formats.metrics import Metric

MAE = Metric("mae", "mean absolute error", False)
RMSE = Metric("rmse", "root mean square error", False)
R2 = Metric("r2", "R², share of the variance explained", True)
ALL = (MAE, RMSE, R2)
