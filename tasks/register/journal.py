"""The journal of a model's champions: written before an alias moves, completed after, and replayed for a rollback."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

from tasks.core.errors import Conflict

OUTSIDE = "moved outside the gate"

Entry = dict[str, Any]
"""One transition: action, from, to, digest, reason, decision, by, at, state (begun, done or undone)."""


class Refs(Protocol):
    """Named values with compare-and-set, and leases: what the journal needs of the store."""

    def get_ref(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """The value and its etag; (None, None) if there is none."""

    def set_ref(self, name: str, value: dict[str, Any], etag: str | None) -> str:
        """Set it if it still has that etag; raises `Conflict`; the new etag."""

    def lock(self, name: str) -> AbstractContextManager[Any]:
        """Hold the lease of that name while inside."""


def ref_name(model: str) -> str:
    """Name of a model's journal among the refs, and of its lease."""
    return f"journal/{model}"


def history(refs: Refs, model: str) -> list[Entry]:
    """All transitions of a model's champion, oldest first."""
    return list((refs.get_ref(ref_name(model))[0] or {}).get("entries", []))


def champions(entries: list[Entry]) -> list[int]:
    """Replay: the champions that a rollback would go back through, the present one last."""
    stack: list[int] = []
    for entry in (entry for entry in entries if entry["state"] == "done"):
        if entry["action"] == "rollback":
            stack = _back_to(stack, entry["to"])
        elif entry["to"] is not None:
            stack = [*stack, entry["to"]] if stack[-1:] != [entry["to"]] else stack
    return stack


def _back_to(stack: list[int], version: int) -> list[int]:
    while stack and stack[-1] != version:
        stack = stack[:-1]
    return stack or [version]


def rolled_back(entries: list[Entry], digest: str) -> Entry | None:
    """The rollback that took these weights down, unless somebody has promoted them by hand since."""
    found = None
    for entry in (entry for entry in entries if entry["state"] == "done"):
        if entry["action"] == "rollback" and entry.get("from_digest") == digest:
            found = entry
        elif entry["action"] == "promote" and entry["digest"] == digest:
            found = None
    return found


def append(refs: Refs, model: str, **entry: Any) -> None:
    """Add a transition."""
    made = {
        "state": "begun",
        "by": f"{_user()}@{socket.gethostname()}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **entry,
    }
    _change(refs, model, lambda entries: [*entries, made])


def close(refs: Refs, model: str, state: str) -> None:
    """Give the last transition its final state: done or undone."""
    _change(refs, model, lambda entries: [*entries[:-1], {**entries[-1], "state": state}])


def settle(refs: Refs, model: str, present: int | None) -> list[Entry]:
    """Finish what a crash left begun, by where the alias is now, and record a move outside the gate; the entries.

    A transition is done if the alias reached its aim, undone if it did not. To be called under the model's lease.
    """
    entries = history(refs, model)
    if entries and entries[-1]["state"] == "begun":
        close(refs, model, "done" if entries[-1]["to"] == present else "undone")
        entries = history(refs, model)
    last = next((entry["to"] for entry in reversed(entries) if entry["state"] == "done"), None)
    if last != present:
        append(refs, model, action=OUTSIDE, **{"from": last}, to=present, digest=None, reason="found so", state="done")
    return history(refs, model)


def _change(refs: Refs, model: str, change: Callable[[list[Entry]], list[Entry]], tries: int = 10) -> None:
    for left in reversed(range(tries)):
        value, etag = refs.get_ref(ref_name(model))
        try:
            refs.set_ref(ref_name(model), {"entries": change((value or {}).get("entries", []))}, etag)
            return
        except Conflict:
            if not left:
                raise


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
