from __future__ import annotations

import pytest

from conf.schema.engine import EngineConf
from tasks.core.plan.costs import Prices

GPUS = {"device": "NVIDIA H100 80GB HBM3", "world_size": 8, "cpus": 2}
CORES = {"device": "cpu", "world_size": 1, "cpus": 2}


def test_gpus_cost_by_the_device_and_all_else_by_the_core() -> None:
    prices = Prices.of(EngineConf(price_per_core_hour=0.05, price_per_device_hour=3.0, currency="EUR"))
    assert prices.cost(1800, GPUS) == pytest.approx(12) and prices.cost(1800, CORES) == pytest.approx(0.05)
    assert prices.said(1234.5) == "1,234.50 EUR" and prices.said(0.0512) == "0.051 EUR"


def test_without_its_price_a_cost_is_not_known_and_says_which_option_gives_it() -> None:
    assert Prices().cost(1800, GPUS) is None and Prices().said(None) == ""
    devices, cores = Prices(per_device_hour=3.0), Prices(per_core_hour=0.05)
    assert devices.cost(1800, CORES) is None and devices.said(None) == "n/a (set engine.price_per_core_hour)"
    assert cores.cost(1800, GPUS) is None and cores.said(None) == "n/a (set engine.price_per_device_hour)"
    assert Prices(per_core_hour=0.0, per_device_hour=3.0).cost(1800, CORES) == 0.0, "a price of nothing is one"
    assert Prices(per_core_hour=0.05).cost(7200, {}) == pytest.approx(0.1), "who does not say has taken one core"
