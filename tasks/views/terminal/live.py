"""What a person sees of a run: live lines in a terminal, plain lines elsewhere, a summary at the end."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tasks.core import number_format, run_warnings
from tasks.core.errors import ConfigError, printable
from tasks.core.events import Event
from tasks.core.plan.costs import Prices
from tasks.core.plan.planner import Row
from tasks.core.step import labelled
from tasks.views.run_data import Step
from tasks.views.terminal.progress_bars import Board

EVERY = 5.0
"""Seconds between two lines of one step where there is no terminal."""
ROOMY = 170
"""Columns from which on a plan shows all that it estimates."""
NUMBERED = re.compile(r"-\d+$")
"""How the name of a shard ends."""
NAMED = 4
"""Models, segments and other parts of a step that a row of the plan names."""
HELD = ("weights_gb", "gradients_gb", "optimizer_gb", "activations_gb")
BELOW = (*HELD, "device_gb", "device_hours", "trained", "disk_gb")
"""Estimates that stand below the plan's table, for they would leave no room in it."""
MARKS = {"cached": "=", "completed": "+", "failed": "x", "refused": "!", "waiting": "?", "skipped": "-"}


def console(stderr: bool = False) -> Console:
    """A console as wide as the terminal; where there is none, wide enough for every table."""
    found = _Console(stderr=stderr, highlight=False, soft_wrap=True)
    return found if found.is_terminal else _Console(stderr=stderr, highlight=False, soft_wrap=True, width=200)


class _Console(Console):
    """A console in which nothing that comes from data acts."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders it, but that only its own escape sequences are any."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


class Terminal:
    """Shows a run while it goes on; implements the engine's `Report`."""

    def __init__(self, verbose: bool = False, quiet_stdout: bool = False) -> None:
        self.console = console(stderr=quiet_stdout)
        self.verbose = verbose
        self.board = Board()
        self._since: dict[str, float] = {}
        """When each running step began, or last had a line shown."""
        self._ended: dict[str, list[Any]] = {}
        self._warned: set[tuple[str, str]] = set()
        """What each step has been heard to warn of: a check that is called again says it again."""
        self._lock = threading.RLock()
        self._live: Live | None = None

    def __enter__(self) -> Terminal:
        if self.console.is_terminal:
            self._live = Live(self.board, console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self.board.over = True
            self._live.stop()
            self._live = None

    def expect(self, steps: Iterable[tuple[str, str]]) -> None:
        """What is going to be called: (stage, step) in order."""
        self.board.expect(steps)

    def say(self, text: str = "", style: str = "") -> None:
        """One plain line."""
        self.console.print(Text(text, style=style))

    def started(self, label: str) -> None:
        """A step's body begins."""
        with self._lock:
            self._since[label] = time.monotonic()
            self.board.started(label)
        if self._live is None:
            self.say(f"> {label}")

    def line(self, label: str, text: str) -> None:
        """A step's child printed a line: the newest is shown, all are in the log."""
        self._show(label, text, loud=self.verbose or not label)

    def event(self, label: str, event: Event) -> None:
        """A step told something: progress moves its bar, or is a line now and then; warnings and notices stay, results
        where there is no terminal."""
        with self._lock:
            if event.kind == "progress":
                self.board.event(label, event)
            if event.kind == "warning":
                if (label, event.text) in self._warned:
                    return
                self._warned.add((label, event.text))
        loud = event.kind in ("warning", "notice") or (event.kind == "result" and (self.verbose or self._live is None))
        self._show(label, event.whole, loud)

    def _show(self, label: str, text: str, loud: bool) -> None:
        """A line that stays, if it is loud or, where there is no terminal, if the step has shown none for long."""
        now = time.monotonic()
        with self._lock:
            late = self._live is None and now - self._since.get(label, now) >= EVERY
            if loud or late:
                self._since[label] = now
        if (loud or late) and text.strip():
            self.say(f"  {label}: {text}" if label else f"  {text}", "dim")

    def ended(self, outcome: Any) -> None:
        """A step is done: a line that stays, in a terminal only of what went wrong."""
        label = outcome.label
        with self._lock:
            group = self._ended.setdefault(outcome.step, [])
            group.append(outcome)
            self.board.ended(label, outcome.state, _made(group))
        wrong = outcome.state in ("failed", "refused")
        if not self.verbose and (outcome.state == "cached" or (self._live is not None and not wrong)):
            return
        style = {"failed": "red", "refused": "yellow"}.get(outcome.state, "")
        took = f"  {number_format.seconds(outcome.seconds)}" if outcome.seconds else ""
        self.say(f"{MARKS[outcome.state]} {label}  {outcome.state}{took}", style)

    def failures(self, outcomes: Iterable[Any], logs: Path, error: BaseException) -> None:
        """What failed and where its log is, at the end of a run; the reason of `error` itself is said elsewhere."""
        for outcome in outcomes:
            if outcome.state != "failed":
                continue
            label = outcome.label
            if outcome.message != str(error):
                self.say(f"x {label}: {outcome.message}", "red")
            log = logs / f"{label}.log"
            if log.exists() and str(log) not in outcome.message:
                self.say(f"  the log of {label}: {log}")

    def ask(self, question: str) -> str:
        """Ask for adopt or rerun; raises `ConfigError` where nobody sits at a terminal."""
        if not (sys.stdin.isatty() and self.console.is_terminal):
            raise ConfigError(f"{question}. Say which with --on-code-change adopt or --on-code-change rerun")
        if self._live is not None:
            self._live.stop()
        try:
            answer = ""
            while answer not in ("adopt", "rerun"):
                answer = input(f"{question}. adopt/rerun? ").strip()
            return answer
        finally:
            if self._live is not None:
                self._live.start()


def plan_table(rows: Iterable[Row], width: int, prices: Prices = Prices()) -> Table:
    """The plan as a table: what hits, what runs and why, what waits; shards of one fate are one row.

    `prices` say costs. Below `ROOMY` columns the estimate is the first of its quantities, so that the reason has room.
    """
    table = Table(box=None, pad_edge=False)
    for name in ("step", "shard", "action", "reason", "estimate"):
        table.add_column(name, overflow="fold", no_wrap=name != "reason")
    folded: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        folded.setdefault((row.step, row.action, row.reason), []).append(row)
    for (step, action, reason), group in folded.items():
        names = dict.fromkeys(name for row in group for name in row.estimate if name not in BELOW)
        shown = list(names) if width >= ROOMY else list(names)[:1]
        sums = {name: sum(row.estimate.get(name, 0) for row in group) for name in shown}
        told = [_quantity(name, value, prices) for name, value in sums.items()] if action != "hit" else []
        table.add_row(*(Text(cell) for cell in (step, _which(group), action, reason, ", ".join(told))))
    return table


def _which(group: list[Row]) -> str:
    """What the rows of a step are of: a shard, so many shards, or models and segments by their names."""
    names = [row.shard or "" for row in group]
    if len(names) > 1 and all(NUMBERED.search(name) for name in names):
        return f"{len(names)} shards"
    named = ", ".join(name for name in names[:NAMED] if name)
    return f"{named}, …" if len(names) > NAMED else named


def plan_lines(rows: Iterable[Row], prices: Prices = Prices()) -> Iterable[str]:
    """What each training that is not made yet will take, what it will leave out, which price is missing, and what the
    run will warn of, for below the plan's table."""
    rows = list(rows)
    for row in rows:
        found = row.estimate
        if row.action == "hit" or "weights_gb" not in found:
            continue
        work = f", {found['flops']:.3g} FLOPs" if "flops" in found else ""
        name = labelled(row.step, row.shard)
        tokens = number_format.count(found["tokens"])
        part = f", {found['trained'] / 1e6:,.1f} M of them trained" if "trained" in found else ""
        yield f"{name}: {found['parameters'] / 1e6:,.1f} M parameters{part}, {tokens} tokens{work}"
        held = ", ".join(f"{part[:-3]} {found[part]:.3g}" for part in HELD)
        there = f", of {found['device_gb']:.3g} that a GPU has" if "device_gb" in found else ""
        yield f"  memory of each process in GB: {held}{there}; of all {found['memory_gb']:.3g}"
        spent = (
            f"{number_format.seconds(found['seconds'])}" if "seconds" in found else "time not known before a first run"
        )
        cost = f", {_quantity('cost', found['cost'], prices)}" if "cost" in found else ""
        disk = f", the model {found['disk_gb']:.3g} GB" if "disk_gb" in found else ""
        yield f"  {spent}{cost}; a checkpoint takes {found['checkpoint_mb']:,.0f} MB{disk}"
    yield from (f"{labelled(row.step, row.shard)}: {row.foreseen}" for row in rows if row.foreseen)
    timed = [row.estimate for row in rows if row.action != "hit" and "seconds" in row.estimate]
    if prices.known and any("cost" not in found for found in timed):
        yield f"costs that are not told: {prices.said(None)}"
    yield from (f"warning: {one}" for one in run_warnings.of(rows))


def summary_table(steps: Iterable[Step]) -> Table:
    """The steps of a run, shards folded: state, seconds, rows or tokens, key."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (("step", "left"), ("state", "left"), ("seconds", "right"), ("made", "left"), ("key", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    folded: dict[str, list[Step]] = {}
    for one in steps:
        folded.setdefault(one.name, []).append(one)
    for step, group in folded.items():
        counted = Counter(one.state for one in group)
        states = [f"{n} {state}" if len(group) > 1 else state for state, n in counted.items()]
        seconds = sum(o.seconds for o in group)
        key = (group[0].key or "")[:12] if len(group) == 1 else f"{len(group)} keys"
        table.add_row(step, ", ".join(states), f"{seconds:.1f}" if seconds else "", _made(group), key)
    return table


def _made(group: list[Step]) -> str:
    """The first of the usual counts that the steps' statistics have, summed over shards."""
    for name in ("tokens", "documents", "rows", "entries", "vocab_size"):
        values = [one.stats.get(name) for one in group]
        if (counts := [value for value in values if isinstance(value, int)]) and len(counts) == len(group):
            return f"{number_format.count(sum(counts))} {name.replace('_', ' ')}"
    return ""


def _quantity(name: str, value: float, prices: Prices) -> str:
    if name == "cost":
        return f"costs {prices.said(value)}"
    if name == "seconds":
        return number_format.seconds(value)
    if name == "vocab_size":
        return f"{number_format.count(value)} tokens"
    if name == "bytes":
        return number_format.size(value)
    unit, _, scale = name.partition("_")
    return f"{value:.3g} {unit} {scale.upper()}".rstrip()


def status_lines(found: dict[str, Any]) -> Iterable[str]:
    """What `status` found, for people."""
    used, free = (number_format.size(found["disk"][name]) for name in ("home_bytes", "free_bytes"))
    yield f"home      {found['home']}  ({used}; {free} free)"
    yield "versions  " + ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    if not found["services"]:
        yield f"services  {'DOWN, though they were asked for' if found['up'] else 'down'}: `fromzero up` starts them"
    for name, about in found["services"].items():
        again = f", restarted {about['restarts']} times" if about["restarts"] else ""
        yield f"{name:<9} {about['state']}{again}  {about['url'] or ''}".rstrip()
    for run in found["running"]:
        yield f"running   {run['name']}  {number_format.seconds(time.time() - run['started'])}, process {run['pid']}"
    for run in found["dead"]:
        yield f"dead      {run['name']}: its process is gone; the same command goes on where it was"
    for name in found.get("waiting", []):
        yield f"waiting   {name}: for approval; its page in Prefect has the form"
    for name in found.get("deployments", []):
        yield f"deployed  {name}"
    for run in found.get("queued", []):
        yield f"next      {run['name']} at {run['at'][:19]} UTC"
