"""The spike guard: which updates are not to be made."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

FLOOR = 0.01
"""Least standard deviation, as a share of the mean: a flat stretch must not make ordinary noise a spike."""


class Guard:
    """Remembers the loss and gradient norm of the last `window` steps and says which step is out of line.

    A step is out of line when either is not finite, or more than `sigma` standard deviations above the mean of a full
    window. What is remembered of a spike is cut at that bound, so that a lasting change is accepted after a while.
    """

    def __init__(self, window: int, sigma: float) -> None:
        self.window, self.sigma = window, sigma
        self.seen: deque[tuple[float, float]] = deque(maxlen=window)

    def judge(self, loss: float, norm: float) -> bool:
        """Whether the update is to be skipped; remembers the step."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return True
        bounds = [self._bound(column) for column in zip(*self.seen, strict=True)] if self.seen else [math.inf] * 2
        self.seen.append((min(loss, bounds[0]), min(norm, bounds[1])))
        return loss > bounds[0] or norm > bounds[1]

    def _bound(self, values: Sequence[float]) -> float:
        if len(values) < self.window:
            return math.inf
        mean = math.fsum(values) / len(values)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        return mean + self.sigma * max(deviation, FLOOR * abs(mean))

    def state(self) -> list[list[float]]:
        """What a checkpoint keeps."""
        return [list(pair) for pair in self.seen]

    def restore(self, state: Sequence[Sequence[float]]) -> None:
        """Go on from a checkpoint's state."""
        self.seen = deque(((float(loss), float(norm)) for loss, norm in state), maxlen=self.window)
