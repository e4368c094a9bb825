"""How fast a run is and what it waits for, from one row of metrics to the next; and the line and the event
that say so."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from tasks.core.events import Event
from tasks.core.number_format import ahead
from tasks.training.job import Budget
from tasks.training.network.device import Place, describe
from tasks.training.planning.hardware import peak_flops
from tasks.training.trainer.device_metrics import DeviceMetrics

WORTH_SAYING = 0.01
"""The share of the time from which on waiting is in the line."""


class Meter:
    """Measures training; time in this process, for the others do as much."""

    def __init__(self, segment: Budget, place: Place, flops: int | None, step: int) -> None:
        """`flops` of a token, forward and backward; `step` is where this process begins."""
        self.segment, self.world, self.flops = segment, place.world, flops
        self.device_metrics = DeviceMetrics(place.device)
        self.peak = peak_flops(describe(place.device)) if place.device.type == "cuda" else None
        self.step, self.at = step, time.monotonic()
        self.spent: defaultdict[str, float] = defaultdict(float)
        """Seconds since the last row that passed otherwise than by training."""
        self.first, self.looked_before = step, 0.0
        """Where this process began, and the seconds since then, up to the last row, that it has not trained."""

    def waiting(self) -> AbstractContextManager[None]:
        """Data are read while inside."""
        return self._timing("data")

    def stalling(self) -> AbstractContextManager[None]:
        """Training stands still for a checkpoint while inside."""
        return self._timing("checkpoint")

    def aside(self) -> AbstractContextManager[None]:
        """The network is looked at, not trained, while inside: no part of the speed, but of the time that is left."""
        return self._timing("aside")

    @contextmanager
    def _timing(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.spent[what] += time.monotonic() - began

    def utilisation(self, tokens_per_second: float) -> float | None:
        """MFU, 0 to 1: FLOPs that the model needs over those that the devices do at best in bf16.

        None on CPUs, and for devices and architectures whose FLOPs are not known.
        """
        if self.peak is None or self.flops is None:
            return None
        return self.flops * tokens_per_second / (self.world * self.peak)

    def read(self, step: int, steps: int) -> dict[str, float]:
        """What has become of the time since the last row, now that `step` of `steps` is done, and what is measured of
        the device.

        Shares are 0 to 1; a checkpoint that follows a row counts in the next one.
        """
        tokens, now = self.segment.tokens_after, time.monotonic()
        passed = max(now - self.at, 1e-9)
        speed = (tokens(step) - tokens(self.step)) / max(passed - self.spent["aside"], 1e-9)
        self.looked_before += self.spent["aside"]
        besides = self.looked_before / max(tokens(step) - tokens(self.first), 1)
        found = {
            "tokens": tokens(step),
            "tokens_per_second": speed,
            "tokens_per_second_per_device": speed / self.world,
            "data_wait": self.spent["data"] / passed,
            "checkpoint_stall": self.spent["checkpoint"] / passed,
            "seconds_left": (tokens(steps) - tokens(step)) * (1 / max(speed, 1e-9) + besides),
        }
        if (utilisation := self.utilisation(speed)) is not None:
            found["mfu"] = utilisation
        self.step, self.at = step, now
        self.spent.clear()
        return found | self.device_metrics.most()


def line(step: int, steps: int, row: Mapping[str, float]) -> str:
    """A row for people; what there is not, or what is not worth saying, is left out."""
    parts = [f"step {step}/{steps}", f"loss {row['loss']:.4f}"]
    if "valid_loss" in row:
        parts.append(f"valid {row['valid_loss']:.4f}")
    if "valid_bits_per_byte" in row:
        parts.append(f"{row['valid_bits_per_byte']:.3f} bits/byte")
    parts.append(f"{row['tokens_per_second']:,.0f} tokens/s")
    if "mfu" in row:
        parts.append(f"mfu {100 * row['mfu']:.0f} %")
    parts += [f"lr {row['learning_rate']:.2e}", f"norm {row['grad_norm']:.2f}"]
    waits = {"data": row["data_wait"], "saving": row["checkpoint_stall"]}
    parts += [f"{what} {100 * share:.0f} %" for what, share in waits.items() if share >= WORTH_SAYING]
    parts.append(f"{row['memory_peak_gb']:.1f} GB")
    parts += [f"{row[name]:.0f} {unit}" for name, unit in (("temperature_c", "°C"), ("power_w", "W")) if name in row]
    return "  ".join([*parts, f"left {ahead(row['seconds_left'])}"])


def progress_event(step: int, steps: int, row: Mapping[str, float]) -> Event:
    """A row as what terminals and servers show of it: how far, how fast, and how well."""
    left, tokens = row["seconds_left"], row["tokens_per_second"]
    parts = [f"{tokens:,.0f} tokens/s"]
    if "valid_bits_per_byte" in row:
        parts.append(f"{row['valid_bits_per_byte']:.3f} bits/byte")
    parts.append(f"loss {row['loss']:.4f}")
    if "mfu" in row:
        parts.append(f"mfu {100 * row['mfu']:.0f} %")
    return Event("progress", step, steps, "step", (steps - step) / left if left else None, left, "  ".join(parts))
