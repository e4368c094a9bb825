"""An interpreter that carries steps out right here: what the engine does, less Prefect and the child processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tasks.core.artifact import Artifact, Manifest, sha256
from tasks.core.plan.keys import artifacts_in, made_from
from tasks.core.plan.planner import Interpretation
from tasks.core.step import Call
from tasks.core.store.lease import FileLease
from tasks.core.store.store import Miss, Store
from tasks.core.workdir import Workdir


class InProcess(Interpretation):
    """Makes what the store does not have; steps named in `skip` are left out, and give None."""

    def __init__(
        self, store: Store, refresh: tuple[str, ...] = (), until: str | None = None, skip: tuple[str, ...] = ()
    ) -> None:
        super().__init__(store, refresh, until)
        self.skip = skip
        self.made: list[str] = []
        """The calls whose bodies ran, by label."""

    def carry_out(self, calls: list[Call]) -> list[Any]:
        """The artifacts, as references without files."""
        return [None if call.step.name in self.skip else self._carry_out(call) for call in calls]

    def _carry_out(self, call: Call) -> Artifact:
        parts = call.known or made_from(call)
        key = sha256(parts)
        found = self.store.look(call.step.name, key)
        if isinstance(found, Miss):
            work = Workdir(self.store.backend.open_work(f"{call.step.name}/{key}", FileLease(0)).root)
            work.make()
            inputs = [self.bring(item) for item in call.inputs]
            stats = call.step.function(*inputs, conf=call.conf, work=work)
            refs = tuple(a.ref() for a in artifacts_in(call.inputs))
            by = {"finished": "2026-01-01T00:00:00+00:00"}
            made = Manifest(call.step.name, key, parts, "", "", (), stats, refs, by, call.shard)
            found = self.store.publish(work, made)
            self.store.backend.close_work(f"{call.step.name}/{key}")
            self.made.append(call.label)
        return Artifact.of(found)

    def bring(self, value: Any) -> Any:
        """An input with its files at hand."""
        if isinstance(value, tuple):
            return tuple(self.bring(item) for item in value)
        if not isinstance(value, Artifact):
            return value
        found = self.store.look(value.step, value.key)
        assert isinstance(found, Manifest)
        brought = self.store.artifact(found)
        return brought.part(value.part_name) if value.part_name else brought

    def _remember(self, ref: str, etag: str | None, value: dict[str, Any]) -> None:
        self.store.set_ref(ref, value, etag)

    def observe(self, ref: str, look: Callable[[Any, Any], tuple[Any, Any]], conf: Any) -> Any:
        """Look at the world and keep the new memory."""
        memory, etag = self.store.get_ref(ref)
        value, new = look(conf, memory)
        if new != memory:
            self.store.set_ref(ref, new, etag)
        return value
