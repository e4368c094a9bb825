"""The metrics of classifiers, as people know them."""

from __future__ import annotations

from tasks.formats.metrics import NATS, Metric

ACCURACY = Metric("accuracy", "accuracy", True, "share of items")
MACRO_F1 = Metric("macro_f1", "macro F1", True)
ROC_AUC = Metric("roc_auc", "ROC-AUC", True)
CALIBRATION_ERROR = Metric("ece", "calibration error", False)
ALL = (ACCURACY, MACRO_F1, NATS, CALIBRATION_ERROR, ROC_AUC)
