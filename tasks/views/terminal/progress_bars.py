"""How far a run is, stage by stage: what the steps say and how many of them are done."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tasks.core.events import Event
from tasks.core.number_format import seconds as duration

DAY = 86_400
BAR = 16
STYLES = {"x": "red", "!": "yellow", "+": "green"}


@dataclass
class Stage:
    """One line: the steps of one stage."""

    name: str
    total: int = 0
    states: list[str] = field(default_factory=list)
    """How each step that is done ended."""
    running: dict[str, Event | None] = field(default_factory=dict)
    newest: str = ""
    made: str = ""
    spent: float = 0.0
    since: float = 0.0
    """When the steps that run now began to do so."""
    paced: float = 0.0
    """Seconds that the stage had run when the last step that was made here ended."""

    @property
    def done(self) -> int:
        """Steps that are done, one way or another."""
        return len(self.states)

    @property
    def share(self) -> float:
        """How much of the stage is done, running steps by their own count."""
        return min((self.done - self.states.count("failed") + self.parts) / max(self.total, 1), 1.0)

    @property
    def parts(self) -> float:
        """How much of the running steps is done, in steps."""
        return sum(told.share for told in self.running.values() if told is not None)

    def seconds(self, now: float) -> float:
        """In which something of the stage ran."""
        return self.spent + (now - self.since if self.running else 0.0)

    def left(self, now: float) -> float | None:
        """Seconds to go: as the only step left says, else by the pace of those that were made here; None once that
        time is over, for then nobody knows."""
        said = [one.left for one in self.running.values() if one is not None and one.left is not None]
        if said and self.total - self.done == len(self.running):
            return max(said)
        made = self.states.count("completed")
        if not made or not self.running:
            return None
        waited = 0.0 if self.parts else self.seconds(now) - self.paced
        left = self.paced / made * (self.total - self.done - self.parts) - waited
        return left if left > 0 else None

    def mark(self, spinner: str) -> str:
        """One sign for how it stands, for colour alone tells nothing."""
        if "failed" in self.states:
            return "x"
        if "refused" in self.states:
            return "!"
        if self.running:
            return spinner
        if self.done < self.total:
            return " " if self.done == 0 else "."
        return "=" if set(self.states) <= {"cached"} else "+"

    def detail(self) -> str:
        """What is going on, or what came of it."""
        if self.running:
            label = self.newest if self.newest in self.running else next(iter(self.running))
            said = self.running[label]
            more = f" and {len(self.running) - 1} more" if len(self.running) > 1 else ""
            shown = "starting" if label == self.name else label
            if said is None:
                return f"{shown}{more}"
            return said.said if label == self.name or "[" not in label else f"{label}{more}  {said.said}"
        if "failed" in self.states:
            return f"{self.states.count('failed')} failed"
        if self.done < self.total:
            return ""
        made = self.states.count("completed")
        counted = "all cached" if set(self.states) <= {"cached"} else f"{made} made" if made < self.total else ""
        return "  ".join(part for part in (counted, self.made) if part)


class Board:
    """All stages of a run."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self._stage_of: dict[str, str] = {}
        self.over = False

    def expect(self, steps: Iterable[tuple[str, str]]) -> None:
        """What the plan foresees: (stage, step) for each call, in order."""
        for stage, step in steps:
            self._stage_of[step] = stage
            self.stages.setdefault(stage, Stage(stage)).total += 1

    def _stage(self, label: str) -> Stage:
        name = self._stage_of.get(label.partition("[")[0], "other")
        return self.stages.setdefault(name, Stage(name))

    def started(self, label: str) -> None:
        """A step's body begins."""
        stage = self._stage(label)
        if not stage.running:
            stage.since = time.monotonic()
        stage.running[label], stage.newest = None, label

    def event(self, label: str, event: Event) -> None:
        """A step told how far it is."""
        for stage in self.stages.values():
            if label in stage.running:
                stage.running[label], stage.newest = event, label

    def ended(self, label: str, state: str, made: str) -> None:
        """A step is done; `made` says in words what it and its likes on other shards came to."""
        stage = self._stage(label)
        if stage.running.pop(label, "") != "" and not stage.running:
            stage.spent += time.monotonic() - stage.since
        stage.states.append(state)
        if state == "completed":
            stage.paced = stage.seconds(time.monotonic())
        stage.total = max(stage.total, stage.done + len(stage.running))
        stage.made = made

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One line for each stage, as wide as the terminal."""
        full, empty, frames = ("#", "-", "|/-\\") if options.ascii_only else ("█", "░", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
        now = time.monotonic()
        spinner = "-" if self.over else frames[int(now * 8) % len(frames)]
        table = Table.grid(padding=(0, 1), expand=True)
        for justify in ("left", "left", "left", "right"):
            table.add_column(justify=justify, no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        for stage in list(self.stages.values()):
            filled = int(stage.share * BAR)
            mark, seconds = stage.mark(spinner), stage.seconds(now)
            left = None if self.over else stage.left(now)
            times = [clock(seconds)] if seconds >= 1 else []
            times += [f"left {clock(left)}"] if left is not None else []
            cells = [mark, stage.name, full * filled + empty * (BAR - filled), f"{stage.done}/{stage.total}"]
            detail = "" if self.over and stage.running else stage.detail()
            table.add_row(*(Text(cell, style=STYLES.get(mark, "")) for cell in (*cells, detail, ", ".join(times))))
        yield table


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 2:05:00; from a day on as 1 d 3 h."""
    if seconds >= DAY:
        return duration(seconds)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
