"""What one call of an expensive step asks of the place where it runs."""

from __future__ import annotations

from pydantic import Field

from conf.schema.base import RunConf


class ResourcesConf(RunConf):
    """Asked for in place of what the step itself declares; what is not given stays as declared."""

    cpu: int | None = Field(None, ge=1)
    """Processor cores."""
    memory_gb: float | None = Field(None, gt=0)
    """Memory, in GB (1e9 bytes)."""
    gpu: int | None = Field(None, ge=0)
    """GPUs. Given, the step waits for so many and is refused where there are fewer; None: one for each of its
    processes where the place has GPUs and its `device` does not say cpu, else none."""
    gpu_memory_gb: float | None = Field(None, gt=0)
    """Memory that each of its GPUs has to have, in GB; None for any."""
    share_gpu: bool = False
    """Its GPUs may be given to other steps that say so too, at the same time."""
    hours: float | None = Field(None, gt=0)
    """Longest time that one attempt may take; what takes longer is ended, as an error. None: as the step declares."""
