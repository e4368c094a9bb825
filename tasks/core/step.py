"""Steps and effects, declared; the interpreter in force decides what a call does."""

from __future__ import annotations

import importlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

Stats = dict[str, Any]
Look = Callable[..., tuple[str, list[dict[str, str]]]]
"""What `foresee` looks with."""


@dataclass(frozen=True)
class Resources:
    """What one call of a step takes while it runs."""

    cpu: int = 1
    memory_gb: float = 1.0


@dataclass(frozen=True)
class Retry:
    """How often an infrastructure error is tried again: `times`, after `delay` s doubling up to `longest` s."""

    times: int = 2
    delay: float = 1.0
    longest: float = 60.0


def Cpu(n: int, memory_gb: float = 1.0) -> Resources:
    """`n` processor cores and `memory_gb` of memory."""
    return Resources(cpu=n, memory_gb=memory_gb)


NETWORK = Retry(times=5, delay=1.0)


class Workdir:
    """Where one attempt of a step writes.

    `work / NAME` is a path under content/ (digested, becomes the artifact), `work.aux / NAME` one under aux/ (kept, not
    digested). Both are emptied before each attempt. `work.scratch` survives retries, crashes and new runs until the
    artifact is published: checkpoints live there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content, self.aux, self.scratch = root / "content", root / "aux", root / "scratch"

    def __truediv__(self, name: str) -> Path:
        path = self.content / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def make(self) -> None:
        """Create the three folders."""
        for folder in (self.content, self.aux, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def metrics_file(self) -> Path:
        """Metric rows, one JSON object a line: {"step", "time", name: value, ...}; the parent sends them to MLflow."""
        return self.scratch / "metrics.jsonl"

    @property
    def system_file(self) -> Path:
        """Rows of the same form about the machine, sampled by the parent of a tracked step."""
        return self.scratch / "system.jsonl"

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Append one row of metrics; a torn last line of a killed writer is cut off first."""
        row = {"step": step, "time": time.time(), **values}
        with self.metrics_file.open("ab+") as file:
            _cut_torn_line(file)
            file.write(json.dumps(row).encode() + b"\n")

    @property
    def progress(self) -> int:
        """How far the newest whole checkpoint is (any unit that grows); 0 without one."""
        try:
            return int((self.scratch / "progress").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    @progress.setter
    def progress(self, value: int) -> None:
        write_atomically(self.scratch / "progress", str(value).encode())

    @property
    def spent(self) -> tuple[float, int]:
        """Seconds and attempts, earlier runs' included, that have gone into the scratch; (0.0, 0) at first."""
        try:
            seconds, attempts = json.loads((self.scratch / "spent.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return 0.0, 0
        return float(seconds), int(attempts)

    @spent.setter
    def spent(self, value: tuple[float, int]) -> None:
        write_atomically(self.scratch / "spent.json", json.dumps(value).encode())


def _cut_torn_line(file: Any) -> None:
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees all of it or none, also after a crash."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@dataclass(frozen=True)
class Step:
    """A declared step: called in a flow, it is handed to the interpreter in force.

    The function is `(inputs…, conf, work) -> stats`. Inputs are artifacts, tuples of artifacts, or JSON values (an
    observation); `conf` is one frozen model; `stats` is a JSON object. It runs in a child process.
    """

    function: Callable[..., Stats]
    resources: Resources = Resources()
    retry: Retry = Retry()
    timeout: float | None = None
    """Seconds that one attempt may take; None for no limit."""
    version: str | None = None
    """An expensive step's semantic version: enters the key in place of the code digest."""
    libraries: tuple[str, ...] = ()
    """Distributions whose versions enter the code digest."""
    needs: tuple[str, ...] = ()
    """Further distributions without which it cannot run; a plan looks for them."""
    data: tuple[str, ...] = ()
    """Files (relative to the project's root) that shape the output and enter the code digest."""
    effect: bool = False
    """A side effect: never cached; `check` says whether it is already done."""
    check: Callable[..., Any] | None = None
    """`check(inputs…, conf) -> result | None`, cheap, run in the parent."""
    blocks: bool = False
    """A check: what comes after it in the flow takes nothing from it, and yet waits for it (in Prefect's graph too)."""
    track: bool = False
    """Give the step an MLflow run that receives its metrics."""
    estimate: Callable[..., dict[str, float]] | None = None
    """`estimate(inputs…, conf)` foretells tokens, FLOPs and the like for the plan."""
    warns: Callable[..., list[dict[str, str]]] | None = None
    """`warns(inputs…, conf)` is what runs and plans are to warn of beforehand (`tasks.core.warned`)."""

    @property
    def name(self) -> str:
        """The step's name: its function's."""
        return self.function.__name__

    @property
    def stage(self) -> str:
        """The folder of tasks/ that the step belongs to."""
        return self.function.__module__.split(".")[-2]

    @property
    def entry(self) -> str:
        """module:function, as a child process finds it."""
        return f"{self.function.__module__}:{self.function.__name__}"

    def __call__(self, *inputs: Any, conf: Any = None) -> Any:
        """Run once; returns an artifact (or, in a plan, perhaps what stands in for one)."""
        return interpreter().call([Call(self, inputs, conf)])[0]

    def map(self, *inputs: Any, conf: Any = None) -> list[Any]:
        """Run once for each element: lists (of confs too) are zipped, all else goes to every call."""
        lengths = {len(item) for item in inputs if isinstance(item, list)}
        if len(lengths) != 1:
            raise ValueError(f"{self.name}.map needs lists of one length, got {sorted(lengths)}")
        confs = conf if isinstance(conf, list) else [conf] * max(lengths)
        rows = range(lengths.pop())
        calls = [Call(self, tuple(i[n] if isinstance(i, list) else i for i in inputs), confs[n]) for n in rows]
        return interpreter().call(calls)

    def pinned(self, ref: str, *inputs: Any, conf: Any = None) -> Any:
        """Run on the inputs that the named ref remembers, if it does: new data alone change nothing."""
        return interpreter().remembered(Call(self, inputs, conf), ref, chain=False)

    def chained(self, ref: str, *inputs: Any, conf: Any = None) -> Any:
        """Run with one more, last input: the artifact made from the inputs before these, or None."""
        return interpreter().remembered(Call(self, inputs, conf), ref, chain=True)


def step(**options: Any) -> Callable[[Callable[..., Stats]], Step]:
    """Declare a function as a cached step; the options are `Step`'s fields."""
    return lambda function: Step(function, **options)


def effect(check: Callable[..., Any], **options: Any) -> Callable[[Callable[..., Stats]], Step]:
    """Declare a function as a side effect that `check` can recognise as already done."""
    return lambda function: Step(function, effect=True, check=check, **options)


def labelled(step: str, shard: str | None) -> str:
    """STEP or STEP[SHARD]."""
    return f"{step}[{shard}]" if shard else step


@dataclass(frozen=True)
class Call:
    """One call of a step in a flow."""

    step: Step
    inputs: tuple[Any, ...]
    conf: Any = None
    known: dict[str, Any] | None = None
    """What the key is made from, where a ref remembers it: the inputs are then not looked at."""

    @property
    def shard(self) -> str | None:
        """The shard that the first input belongs to."""
        first = self.inputs[0] if self.inputs else None
        return first.get("shard") if isinstance(first, dict) else getattr(first, "shard", None)

    @property
    def label(self) -> str:
        """STEP or STEP[SHARD]."""
        return labelled(self.step.name, self.shard)

    def warnings(self) -> list[dict[str, str]]:
        """What is to be warned of beforehand."""
        return self.step.warns(*self.inputs, conf=self.conf) if self.step.warns else []

    def with_inputs(self, *inputs: Any) -> Call:
        """The same call on other inputs."""
        return replace(self, inputs=inputs)


class Interpreter(Protocol):
    """What a call of a step means: run it, or say what would be run."""

    def call(self, calls: list[Call]) -> list[Any]:
        """Carry out independent calls of one step; results in the same order."""

    def remembered(self, call: Call, ref: str, *, chain: bool) -> Any:
        """Carry out a call whose inputs depend on a named ref."""

    def observe(self, ref: str, look: Callable[[Any, Any], tuple[Any, Any]], conf: Any) -> Any:
        """Look at the world now: `look(conf, memory) -> (value, new memory)`, the memory kept in a named ref."""

    def foresee(self, step: Step, look: Look, inputs: tuple[Any, ...], conf: Any) -> None:
        """Look into what a step that has been called is to be made from, in a plan; see `foresee`."""


_interpreter: ContextVar[Interpreter] = ContextVar("interpreter")


def interpreter() -> Interpreter:
    """The interpreter in force; raises `RuntimeError` outside of a flow."""
    try:
        return _interpreter.get()
    except LookupError:
        raise RuntimeError("steps are called in a flow; call STEP.function to use one as a plain function") from None


@contextmanager
def interpreted_by(chosen: Interpreter) -> Iterator[None]:
    """Let `chosen` carry out the steps that are called inside."""
    token = _interpreter.set(chosen)
    try:
        yield
    finally:
        _interpreter.reset(token)


def observe(ref: str, look: Callable[[Any, Any], tuple[Any, Any]], conf: Any) -> Any:
    """An observation with a memory: made on every run, in plans too; a plan leaves the memory as it was."""
    return interpreter().observe(ref, look, conf)


def foresee(step: Step, look: Look, *inputs: Any, conf: Any = None) -> None:
    """In `fromzero plan`, and there only: what `look(inputs…, conf)` finds, once all inputs are made, of the call of a
    step that is to run: words, and warnings as `tasks.core.warned` has them."""
    interpreter().foresee(step, look, inputs, conf)


def load(entry: str) -> Step:
    """The step at module:function."""
    module, _, name = entry.partition(":")
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, Step):
        raise TypeError(f"{entry} is not a step")
    return found
