"""Metrics as evaluations and trainings write them: a value, with low and high where there is an interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRIMARY = ("bits_per_byte", "accuracy", "valid_loss", "loss")
"""Metrics that stand for a step, the first that it has."""


def primary_metric(record: dict[str, Any]) -> dict[str, Any] | None:
    """What stands for the first evaluation: that of the model the run is about."""
    found = record.get("metrics") or {}
    step = next((name for name in found if name.startswith("evaluate")), next(iter(found), None))
    if step is None or not found[step]:
        return None
    name = primary_name(found[step])
    return {"step": step, "name": name, **valued(found[step], name)}


def valued(metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A metric's value, with low and high where there is an interval."""
    return {"value": metrics[name], "low": metrics.get(f"{name}_lo"), "high": metrics.get(f"{name}_hi")}


def primary_name(metrics: Mapping[str, Any]) -> str:
    """Of several metrics the one that stands for a step, whatever their order; there must be one."""
    return next((name for name in PRIMARY if name in metrics), next(iter(metrics)))
