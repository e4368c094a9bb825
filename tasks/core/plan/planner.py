"""What will run and why: keys, looks at the store, and the interpreter that starts nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, NamedTuple

from tasks.core.artifact import Artifact, Manifest, sha256
from tasks.core.errors import ConfigError, nearest
from tasks.core.number_format import plural
from tasks.core.plan.costs import Prices
from tasks.core.plan.fingerprint import library_version
from tasks.core.plan.keys import code_changes, code_for_key, conf_for_key, differences, input_for_key, made_from
from tasks.core.plan.step_history import History, bytes_listed
from tasks.core.step import Call, Look, Resources, Step
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Miss, Store


@dataclass(frozen=True)
class Pending:
    """Stands in for an artifact that is not made yet."""

    label: str
    shard: str | None = None
    stats: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> Pending:
        """A part of what is not made yet."""
        return self


class Reached(Exception):
    """`--until` names the step that has just been carried out."""


@dataclass
class Row:
    """One call of a step, as the plan shows it."""

    step: str
    shard: str | None
    action: str
    reason: str = ""
    key: str | None = None
    estimate: dict[str, float] = field(default_factory=dict)
    warnings: list[dict[str, str]] = field(default_factory=list)
    """What the step's `warns` foretells."""
    resources: Resources = field(default_factory=Resources)
    """Of the place where it runs."""
    foreseen: str = ""
    """What was found in its inputs, or what that waits for."""


class _Keyed(NamedTuple):
    """What a call's key is made from, and the key."""

    parts: dict[str, Any]
    key: str

    @classmethod
    def of(cls, call: Call) -> _Keyed:
        parts = call.known or made_from(call)
        return cls(parts, sha256(parts))


def encode(value: Any) -> Any:
    """An input as JSON: references for artifacts, lists for tuples."""
    if isinstance(value, Artifact):
        return {"artifact": value.ref()}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return {"value": value}


def first_pending(value: Any) -> Pending | None:
    """What an input waits for, if it waits."""
    if isinstance(value, (tuple, list)):
        return next((found for item in value if (found := first_pending(item))), None)
    return value if isinstance(value, Pending) else None


class Interpretation(ABC):
    """What both interpreters share: keys, looks, refs, `--refresh` and `--until`."""

    def __init__(self, store: Store, refresh: tuple[str, ...] = (), until: str | None = None) -> None:
        self.store, self.refresh, self.until = store, refresh, until
        self.steps: dict[str, Step] = {}
        """Every step that was called, by name."""

    def call(self, calls: list[Call]) -> list[Any]:
        """Carry out independent calls of one step; raises `Reached` after the step that `--until` names."""
        results = self.carry_out(calls)
        self._stop_at(calls)
        return results

    @abstractmethod
    def carry_out(self, calls: list[Call]) -> list[Any]:
        """What the interpreter does with calls; results in the same order."""

    def _stop_at(self, calls: list[Call]) -> None:
        if self.until and any(call.step.name == self.until for call in calls):
            raise Reached

    def refreshed(self, step: Step) -> bool:
        """`--refresh` names the step, or its stage."""
        return step.name in self.refresh or step.stage in self.refresh

    def foresee(self, step: Step, look: Look, inputs: tuple[Any, ...], conf: Any, always: bool) -> None:
        """A run says what it finds when it finds it."""
        return

    def forecast(self, step: Step, look: Callable[..., dict[str, float]], inputs: tuple[Any, ...], conf: Any) -> None:
        """A run sees what it takes."""
        return

    def check_names(self) -> None:
        """Raise `ConfigError` if `--until` or `--refresh` names a step that the flow does not have."""
        known = set(self.steps) | {step.stage for step in self.steps.values()}
        for name in {*self.refresh, *([self.until] if self.until else [])} - known:
            raise ConfigError(f"there is no step {name!r}{nearest(name, sorted(self.steps))}")

    def remembered(self, call: Call, ref: str, *, chain: bool) -> Any:
        """Carry out a call whose inputs depend on a named ref; each set of options has a memory of its own.

        Pinned (`chain` false): the remembered inputs are used in place of the call's, unless `--refresh` names the
        step itself. Chained: the call gets the artifact that was made from the inputs before these as one more input.
        """
        ref = f"{ref}/{sha256([call.step.version, conf_for_key(call.conf)])[:12]}"
        memory, etag = self.store.get_ref(ref)
        if self.refreshed(call.step) if chain else call.step.name in self.refresh:
            memory = None
        now = None if first_pending(call.inputs) else sha256([input_for_key(item) for item in call.inputs])
        if memory and (not chain or memory["inputs_id"] == now):
            call = self._recalled(call, memory, chain)
        elif chain:
            call = call.with_inputs(*call.inputs, self._known(memory["result"]) if memory else None)
        result = self.carry_out([call])[0]
        if isinstance(result, Artifact) and call.known is None:
            self._remember(ref, etag, {"inputs_id": now, "result": result.ref(), "inputs": encode(call.inputs)})
        self._stop_at([call])
        return result

    def _recalled(self, call: Call, memory: dict[str, Any], chain: bool) -> Call:
        """The call as it was made then: known by its result if that is whole, else on the same inputs."""
        inputs = [self._decode(item) for item in memory["inputs"]]
        again = call.with_inputs(*call.inputs, inputs[-1]) if chain else call.with_inputs(*inputs)
        found = self.look(memory["result"]["step"], memory["result"]["key"])
        if isinstance(found, Manifest) and found.made_from["code"] == code_for_key(call.step):
            return replace(again, known=found.made_from)
        return call if not chain and _lost(memory["inputs"], inputs) else again

    def _decode(self, encoded: Any) -> Any:
        if isinstance(encoded, list):
            return tuple(self._decode(item) for item in encoded)
        return self._known(encoded["artifact"]) if "artifact" in encoded else encoded["value"]

    def _known(self, ref: dict[str, Any]) -> Artifact | None:
        """The artifact that a reference names, or None if it is not whole any more."""
        found = self.look(ref["step"], ref["key"])
        if not isinstance(found, Manifest):
            return None
        artifact = Artifact.of(found)
        return artifact.part(ref["part"]) if ref["part"] else artifact

    def look(self, step: str, key: str) -> Manifest | Miss:
        """The artifact, or why there is none."""
        return self.store.look(step, key)

    @abstractmethod
    def _remember(self, ref: str, etag: str | None, value: dict[str, Any]) -> None:
        """Keep a new memory under a ref that had `etag`."""

    def observe(self, ref: str, look: Callable[[Any, Any], tuple[Any, Any]], conf: Any) -> Any:
        """See `Interpreter`; here the memory is left as it was."""
        return look(conf, self.store.get_ref(ref)[0])[0]


def _lost(encoded: Any, decoded: Any) -> bool:
    """An artifact that the encoded inputs name is gone."""
    if isinstance(encoded, list):
        return any(_lost(e, d) for e, d in zip(encoded, decoded, strict=True))
    return "artifact" in encoded and decoded is None


class Planner(Interpretation):
    """The interpreter that looks and never runs: it needs no server and lists the store once per step."""

    def __init__(
        self,
        store: Store,
        refresh: tuple[str, ...] = (),
        until: str | None = None,
        on_code_change: str = "ask",
        prices: Prices | None = None,
        looks_in: bool = False,
    ) -> None:
        super().__init__(store, refresh, until)
        self.looks_in = looks_in
        """Whether the inputs of what is to run are looked into, which takes longer."""
        self.on_code_change, self.prices = on_code_change, prices or Prices()
        self.rows: list[Row] = []
        self.history = History(store)

    def carry_out(self, calls: list[Call]) -> list[Any]:
        """Hits as artifacts, everything else as `Pending`; raises `HostError` for a step that cannot run here."""
        self.steps |= {call.step.name: call.step for call in calls}
        if calls[0].step.effect:
            return [self._plan_effect(call) for call in calls]
        known = [None if call.known is None and first_pending(call.inputs) else _Keyed.of(call) for call in calls]
        found = self.history.look_at(calls[0].step.name, [one.key for one in known if one is not None])
        return [self._plan(call, one, found) for call, one in zip(calls, known, strict=True)]

    def look(self, step: str, key: str) -> Manifest | Miss:
        """See `Interpretation`; from the one listing of the step."""
        return self.history.look_at(step, [key])[key]

    def _remember(self, ref: str, etag: str | None, value: dict[str, Any]) -> None:
        """A plan leaves every memory as it was."""

    def _plan(self, call: Call, keyed: _Keyed | None, looked_at: Mapping[str, Manifest | Miss]) -> Any:
        asks = call.step.resources
        row = Row(call.step.name, call.shard or call.about, "wait", warnings=call.warnings(), resources=asks)
        self.rows.append(row)
        if keyed is None:
            waits = first_pending(call.inputs)
            assert waits is not None
            row.reason, row.estimate = f"waits on {waits.label}", self._estimate(call)
            return Pending(call.label, call.shard, row.estimate)
        row.key = keyed.key
        found = looked_at[row.key]
        if isinstance(found, Manifest) and not self._runs_anyway(call, found, row):
            row.action = "hit"
            return Artifact.of(found)
        row.action = "run"
        if isinstance(found, Miss):
            row.reason = found.reason if found.broken else self._why(call, keyed.parts)
        row.estimate = self._estimate(call)
        return Pending(call.label, call.shard, row.estimate)

    def _runs_anyway(self, call: Call, found: Manifest, row: Row) -> bool:
        if self.refreshed(call.step):
            row.reason = "asked for by --refresh"
            return True
        changed = code_changes(self.store, call.step, found)
        if changed:
            row.reason = f"made by other code ({', '.join(changed)}): "
            row.reason += {"ask": "run asks adopt or rerun", "adopt": "adopted", "rerun": "made again"}[
                self.on_code_change
            ]
        return bool(changed) and self.on_code_change == "rerun"

    def _plan_effect(self, call: Call) -> Any:
        waits = first_pending(call.inputs)
        done = None
        if not waits:
            assert call.step.check is not None
            done = call.step.check(*call.inputs, call.conf)
        action = "wait" if waits else "run" if done is None else "hit"
        if action != "hit":
            check_parts(call.step)
        self.rows.append(
            Row(call.step.name, call.shard or call.about, action, f"waits on {waits.label}" if waits else "")
        )
        return done if done is not None else Pending(call.label, call.shard)

    def foresee(self, step: Step, look: Look, inputs: tuple[Any, ...], conf: Any, always: bool) -> None:
        """See `foresee` of the steps; artifacts in a bucket are not brought here for it."""
        row = next((row for row in reversed(self.rows) if row.step == step.name), None)
        if not self.looks_in or row is None or (row.action == "hit" and not always):
            return
        if waits := first_pending(inputs):
            row.foreseen = f"what is cut or left out is not known before {waits.label} is made"
        elif not always and not isinstance(self.store.backend, LocalBackend):
            row.foreseen = "what is cut or left out is not known before it runs: its inputs are in a bucket"
        else:
            row.foreseen, found = look(*map(self._brought, inputs), conf=conf)
            row.warnings = [*row.warnings, *found]

    def forecast(self, step: Step, look: Callable[..., dict[str, float]], inputs: tuple[Any, ...], conf: Any) -> None:
        """See `forecast` of the steps; artifacts in a bucket are not brought here for it."""
        row = next((row for row in reversed(self.rows) if row.step == step.name), None)
        waits = first_pending(inputs) or not isinstance(self.store.backend, LocalBackend)
        if self.looks_in and row is not None and row.action != "hit" and not waits:
            own = look(*map(self._brought, inputs), conf=conf)
            row.estimate = self._as_before(step.name, row.shard, _size(inputs), own)

    def _brought(self, value: Any) -> Any:
        """An input with its files at hand."""
        if isinstance(value, (tuple, list)):
            return tuple(map(self._brought, value))
        if not isinstance(value, Artifact):
            return value
        return replace(value, root=self.store.local(self.store.find(f"{value.step}/{value.key}")))

    def unwritable(self) -> str | None:
        """Why what is to be made cannot be kept in the store; None if it can, or nothing is to be made."""
        rows = [row for row in self.rows if row.action != "hit"]
        effects = {name for name, step in self.steps.items() if step.effect}
        names = [
            f"_effects/{row.step}" if row.step in effects else "/".join(filter(None, [row.step, row.key]))
            for row in rows
        ]
        why = self.store.unwritable(dict.fromkeys(names))
        return why and f"{plural(len(rows), 'step')} cannot be made here, first {rows[0].step}: {why}"

    def _why(self, call: Call, parts: dict[str, Any]) -> str:
        past = self.history.of_shard(call.step.name, call.shard)
        if not past:
            return "not made yet"
        names = tuple(signature(call.step.function).parameters)
        nearest = min((differences(manifest, call, parts, names) for manifest in reversed(past)), key=len)
        return "; ".join(nearest) or "not made yet"

    def _estimate(self, call: Call) -> dict[str, float]:
        """Seconds, their cost, and bytes as an earlier artifact of the step took them, and what the step itself
        foretells. Seconds follow the FLOPs where both are known, else, as bytes do, the bytes of the inputs.

        Raises `HostError` if a library that the step needs is missing, and what the step's own foretelling raises.
        """
        check_parts(call.step)
        own = call.step.estimate(*call.inputs, conf=call.conf) if call.step.estimate else {}
        return self._as_before(call.step.name, call.shard, _size(call.inputs), own)

    def _as_before(self, step: str, shard: str | None, size: float | None, own: dict[str, float]) -> dict[str, float]:
        """What a step foretells, with seconds, cost and bytes as an earlier artifact of it took them."""
        last, more = self.history.like(step, shard, size)
        found: dict[str, float] = {}
        if last is not None:
            known = own.get("flops") and last.stats.get("flops")
            work = own["flops"] / last.stats["flops"] if known else more
            found = {"seconds": round(last.made_by.get("seconds", 0.0) * work, 3)}
            cost = self.prices.cost(found["seconds"], last.made_by)
            found |= {"cost": round(cost, 6)} if cost is not None else {}
            found["bytes"] = round(sum(file.size for file in last.files) * (1 if known else more))
        elif (hours := own.get("device_hours")) and self.prices.per_device_hour is not None:
            found["cost"] = round(hours * self.prices.per_device_hour, 6)
        return found | {name: value for name, value in own.items() if name not in found}


def _size(value: Any) -> float | None:
    """Bytes of an input, of what is not made yet as estimated; None where they are not known."""
    if isinstance(value, (tuple, list)):
        sizes = [_size(item) for item in value]
        return None if None in sizes else sum(size for size in sizes if size)
    if isinstance(value, Artifact):
        return value.size(value.part_name)
    return value.stats.get("bytes") if isinstance(value, Pending) else bytes_listed(value)


def check_parts(step: Step) -> None:
    """Raise `HostError` if a distribution that the step needs is not installed."""
    for library in (*step.libraries, *step.needs):
        library_version(step.name, library)
