from __future__ import annotations

import pytest

from conf.schema.engine import EngineConf
from tasks.core.costs import Prices

GPUS = {"device": "NVIDIA H100 80GB HBM3", "world_size": 8, "cpus": 2}
CORES = {"device": "cpu", "world_size": 1, "cpus": 2}


def test_gpus_cost_by_the_device_and_all_else_by_the_core() -> None:
    prices = Prices.of(EngineConf(price_per_core_hour=0.05, price_per_device_hour=3.0, currency="EUR"))
    assert prices.cost(1800, GPUS) == pytest.approx(12) and prices.cost(1800, CORES) == pytest.approx(0.05)
    assert prices.said(1234.5) == "1,234.50 EUR" and prices.said(0.0512) == "0.051 EUR"


def test_without_any_price_nothing_is_made_up_and_with_one_the_other_is_nothing() -> None:
    assert Prices().cost(1800, GPUS) is None and Prices().said(None) == ""
    assert Prices(per_device_hour=3.0).cost(1800, CORES) == 0.0
    assert Prices(per_core_hour=0.05).cost(1800, GPUS) == 0.0
    assert Prices(per_core_hour=0.05).cost(7200, {}) == pytest.approx(0.1), "who does not say has taken one core"
