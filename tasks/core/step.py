"""Steps and effects, declared; the interpreter in force decides what a call does."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Protocol

Stats = dict[str, Any]
Look = Callable[..., tuple[str, list[dict[str, str]]]]
"""What `foresee` looks with."""


@dataclass(frozen=True)
class Resources:
    """What one call of a step takes while it runs."""

    cpu: int = 1
    memory_gb: float = 1.0
    gpu: int = 0
    """GPUs."""
    gpu_memory_gb: float = 0.0
    """Memory that each of them has to have."""
    gpu_must: bool = False
    """It has to have them; else it does with none where the place has none."""
    share_gpu: bool = False
    """With others that say so too."""
    nodes: int = 1
    """Machines that carry it out together, each with all of this."""

    def asked(self, run: Any) -> Resources:
        """As options that say how a step is run ask for it: `run.resources`, `run.nodes`, and a GPU for each process
        unless `run.device` is cpu."""
        found = self
        if device := getattr(run, "device", None):
            gpu = 0 if device == "cpu" else getattr(run, "processes", 1)
            found = replace(found, gpu=gpu, gpu_must=device == "cuda", nodes=getattr(run, "nodes", 1))
        given = getattr(run, "resources", None)
        if given is not None:
            names = ("cpu", "memory_gb", "gpu", "gpu_memory_gb")
            over = {name: value for name in names if (value := getattr(given, name)) is not None}
            found = replace(found, **over, share_gpu=given.share_gpu)
            found = replace(found, gpu_must=found.gpu_must or bool(given.gpu or given.gpu_memory_gb))
        return found


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


@dataclass(frozen=True)
class Step:
    """A declared step: called in a flow, it is handed to the interpreter in force.

    The function is `(inputs…, conf, work) -> stats`. Inputs are artifacts, tuples of artifacts, or JSON values (an
    observation); `conf` is one frozen model; `stats` is a JSON object. It runs in a child process.
    """

    function: Callable[..., Stats]
    part_of: str = ""
    """The stage that it belongs to for people, where that is not its folder of tasks/."""
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
    reaches: tuple[str, ...] = ()
    """MODULE:NAME of what it finds by name (`tasks.core.plugins`): that code counts like what it imports."""
    unused: tuple[str, ...] = ()
    """Modules that it imports for options which are off: their code does not count."""
    fits: Callable[[Step, Any], Step] | None = None
    """`fits(step, conf)`: the step as calls with these options have it: with what it `reaches`, `libraries` and `needs`
    for the kind at hand, and what is `unused`. Given what it gave, it gives the same."""
    data: tuple[str, ...] = ()
    """Files (relative to the project's root) that shape the output and enter the code digest."""
    effect: bool = False
    """A side effect: never cached; `check` says whether it is already done."""
    check: Callable[..., Any] | None = None
    """`check(inputs…, conf) -> result | None`, cheap, run in the parent."""
    blocks: bool = False
    """A check: what comes after it in the flow takes nothing from it, and yet waits for it (in Prefect's graph too)."""
    joins: str = ""
    """MODULE:FUNCTION by which another machine takes part in a body that wants several: `(say, key=…)`, until SIGTERM.
    """
    track: bool = False
    """Give the step an MLflow run that receives its metrics."""
    estimate: Callable[..., dict[str, float]] | None = None
    """`estimate(inputs…, conf)` foretells tokens, FLOPs and the like for the plan."""
    warns: Callable[..., list[dict[str, str]]] | None = None
    """`warns(inputs…, conf)` is what runs and plans are to warn of beforehand (`tasks.core.run_warnings`)."""

    @property
    def name(self) -> str:
        """The step's name: its function's."""
        return self.function.__name__

    @property
    def stage(self) -> str:
        """The stage that the step belongs to: a folder of tasks/."""
        return self.part_of or self.function.__module__.split(".")[-2:][0]

    @property
    def entry(self) -> str:
        """module:function, as a child process finds it."""
        return f"{self.function.__module__}:{self.function.__name__}"

    def of(self, conf: Any) -> Step:
        """This step as a call with these options has it."""
        fitted = self.fits(self, conf) if self.fits else self
        run = getattr(conf, "run", None)
        if run is None:
            return fitted
        hours = getattr(getattr(run, "resources", None), "hours", None)
        asked, timeout = fitted.resources.asked(run), hours * 3600 if hours else fitted.timeout
        same = (asked, timeout) == (fitted.resources, fitted.timeout)
        return fitted if same else replace(fitted, resources=asked, timeout=timeout)

    def __call__(self, *inputs: Any, conf: Any = None, about: str | None = None) -> Any:
        """Run once; returns an artifact (or, in a plan, perhaps what stands in for one). `about` is shown with the
        step's name, where a flow calls the step for several things."""
        return interpreter().call([Call(self, inputs, conf, about=about)])[0]

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
    about: str | None = None
    """What tells calls of a step apart for people; it changes nothing."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", self.step.of(self.conf))

    @property
    def shard(self) -> str | None:
        """The shard that the first input belongs to."""
        first = self.inputs[0] if self.inputs else None
        return first.get("shard") if isinstance(first, dict) else getattr(first, "shard", None)

    @property
    def label(self) -> str:
        """STEP, STEP[SHARD] or STEP[ABOUT]."""
        return labelled(self.step.name, self.shard or self.about)

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

    def foresee(self, step: Step, look: Look, inputs: tuple[Any, ...], conf: Any, always: bool) -> None:
        """Look into what a step that has been called is to be made from, in a plan; see `foresee`."""

    def forecast(self, step: Step, look: Callable[..., dict[str, float]], inputs: tuple[Any, ...], conf: Any) -> None:
        """Tell what the call of a step that is to run will take, in a plan; see `forecast`."""


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


def foresee(step: Step, look: Look, *inputs: Any, conf: Any = None, always: bool = False) -> None:
    """In `fromzero plan`, and there only: what `look(inputs…, conf)` finds, once all inputs are made, of the call of a
    step that is to run, or `always`: words, and warnings as `tasks.core.run_warnings` has them."""
    interpreter().foresee(step, look, inputs, conf, always)


def forecast(step: Step, look: Callable[..., dict[str, float]], *inputs: Any, conf: Any = None) -> None:
    """In `fromzero plan`, and there only: what `look(inputs…, conf)` says, once all inputs are made, that the call of a
    step will take which is to run, by the names of a step's `estimate`."""
    interpreter().forecast(step, look, inputs, conf)


def load(entry: str) -> Step:
    """The step at module:function."""
    module, _, name = entry.partition(":")
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, Step):
        raise TypeError(f"{entry} is not a step")
    return found
