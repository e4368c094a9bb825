"""The metrics of pairs of answers, as people know them."""

from __future__ import annotations

from tasks.formats.metrics import Metric

ACCURACY = Metric("preference_accuracy", "preference accuracy", True, "share of pairs")
MARGIN = Metric("preference_margin", "preference margin", True, "nats per token")
ALL = (ACCURACY, MARGIN)
