"""The metrics of models that find spans, as people know them."""

from __future__ import annotations

from tasks.formats.metrics import Metric

SPAN_F1 = Metric("span_f1", "F1 of spans", True)
PRECISION = Metric("precision", "precision of spans", True)
RECALL = Metric("recall", "recall of spans", True)
ALL = (SPAN_F1, PRECISION, RECALL)
