"""Options of the engine: how steps are carried out. None of them enters a key."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conf.schema.base import RunConf


class EngineConf(RunConf):
    """The local engine: tasks in threads, bodies in child processes, a Prefect server of its own."""

    kind: Literal["local"] = "local"
    """Where steps run; local is this machine."""
    cpus: int | None = Field(None, ge=1)
    """Processor cores that steps share; None for all of this machine's."""
    fake_devices: int = Field(0, ge=0, le=64)
    """GPUs that this machine pretends to have, in place of those that it has: to try out what waits for what."""
    places: dict[str, str] = Field(default_factory=dict)
    """Which place takes what. Names are those of steps and stages, `gpu` for whatever asks for a GPU and `rest` for all
    else; the first of these that fits a step counts. Places: local (this machine, where nothing is named), pool (a
    Prefect work pool; pool:NAME for one of that name, else fromzero-steps), ray (the Ray cluster in RAY_ADDRESS, or
    ray:ADDRESS), and what is installed beside. Registering and promoting stay with the run."""
    on_code_change: Literal["ask", "adopt", "rerun"] = "ask"
    """What to do with an expensive artifact whose code has changed since; `ask` stops where nobody can answer."""
    watts_per_core: float = Field(10.0, gt=0)
    """Watts that a busy core draws, its share of memory and power supply included: for the report's energy estimate."""
    price_per_core_hour: float | None = Field(None, ge=0)
    """What a core costs for an hour, in `currency`: for the costs that plan, summary and report tell; None for none."""
    price_per_device_hour: float | None = Field(None, ge=0)
    """What a GPU with its share of the machine costs for an hour, in `currency`; None for no costs."""
    currency: str = Field("", max_length=12)
    """Stands behind what something costs, for instance EUR."""
