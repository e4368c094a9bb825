"""What time costs, by the prices in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conf.schema.engine import EngineConf


@dataclass(frozen=True)
class Prices:
    """By what time becomes money."""

    per_core_hour: float | None = None
    per_device_hour: float | None = None
    currency: str = ""

    @classmethod
    def of(cls, engine: EngineConf) -> Prices:
        """Those of a configuration."""
        return cls(engine.price_per_core_hour, engine.price_per_device_hour, engine.currency)

    @property
    def known(self) -> bool:
        """Whether any price is set."""
        return self.per_core_hour is not None or self.per_device_hour is not None

    def cost(self, seconds: float, made_by: Mapping[str, Any]) -> float | None:
        """What `seconds` cost of what made an artifact: its devices if it ran on GPUs, else its cores.

        None if the price of those is not set: see `said`.
        """
        if made_by.get("device", "cpu") in ("cpu", None):
            each, count = self.per_core_hour, made_by.get("cpus")
        else:
            each, count = self.per_device_hour, made_by.get("world_size")
        return None if each is None else seconds / 3600 * int(count or 1) * each

    def said(self, cost: float | None) -> str:
        """A cost in words; of one that is not known, which option gives it; empty without any price."""
        if not self.known:
            return ""
        if cost is None:
            return f"n/a (set engine.price_per_{'core' if self.per_core_hour is None else 'device'}_hour)"
        return f"{f'{cost:,.2f}' if cost >= 1 else f'{cost:.2g}'} {self.currency}".rstrip()
