"""The way back, where skipping updates does not help: to the weights of an earlier checkpoint, past the data since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.core.errors import StepError


class Rollback:
    """Counts skipped updates in a row, and knows which checkpoint to go back to when there are too many.

    The weights and moments go back; the step, and with it the schedule and the place in the data, goes on, so that the
    window of data between is left out. Where it goes back to does not depend on when checkpoints happened to be made:
    only those of every `every` steps are taken, from the beginning on, and what a return itself has saved.
    """

    def __init__(self, patience: int | None, every: int) -> None:
        """Go back after `patience` skipped updates in a row (None: never), which are at most `every`."""
        self.patience, self.every = patience, every
        self.row = 0
        """Skipped updates up to now, in a row."""
        self.points: list[int] = []
        """Steps of the newest two checkpoints that may be gone back to: the last one may lie in the row."""
        self.windows: list[tuple[int, int]] = []
        """The returns so far: (the step gone back to, the step at which)."""

    def due(self, step: int) -> bool:
        """Whether the checkpoint of this step is one that may be gone back to; remembers it."""
        if self.patience is None or step % self.every:
            return False
        if step not in self.points:
            self.points = [*self.points, step][-2:]
        return True

    def judge(self, step: int, skipped: bool) -> int | None:
        """After a step: the step whose checkpoint is to be gone back to, if it has come to that.

        Raises `StepError` when no update at all was made since the last return: then it is not the data.
        """
        self.row = self.row + 1 if skipped else 0
        if self.patience is None or self.row < self.patience:
            return None
        before = step - self.row
        if self.windows and self.windows[-1][1] == before:
            raise StepError(
                f"every update since the return of step {before} to step {self.windows[-1][0]} had to be skipped: "
                "lower pretrain.segments.NAME.peak_lr, raise pretrain.optimizer.guard_sigma, or look at the documents "
                "in skipped.jsonl"
            )
        return max(point for point in self.points if point <= before)

    def went_back(self, point: int, step: int) -> None:
        """Note a return to `point` at `step`, whose checkpoint holds it from now on."""
        self.windows.append((point, step))
        self.points, self.row = [step], 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"row": self.row, "points": self.points, "windows": self.windows}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self.row, self.points = int(state["row"]), [int(point) for point in state["points"]]
        self.windows = [(int(point), int(step)) for point, step in state["windows"]]
