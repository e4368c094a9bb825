"""The journal of a model's champions: written before an alias moves, completed after, and replayed for a rollback."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from tasks.core.errors import Conflict

OUTSIDE = "moved outside the gate"

Entry = dict[str, Any]
"""One transition: action, from, to, digest, reason, decision, by, at, state (begun, done or undone)."""


class Champion(NamedTuple):
    """What was champion once. People delete, rename and re-make models: a number alone may mean other weights later."""

    version: int
    digest: str | None

    def same(self, other: Champion) -> bool:
        """The same weights; where those are not known, the same number."""
        return self.digest == other.digest if self.digest and other.digest else self.version == other.version


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


def champions(entries: list[Entry]) -> list[Champion]:
    """Replay: the champions that a rollback would go back through, the present one last."""
    stack: list[Champion] = []
    for entry in (entry for entry in entries if entry["state"] == "done" and entry["to"] is not None):
        found = Champion(entry["to"], entry.get("digest"))
        if entry["action"] == "rollback":
            while stack and not stack[-1].same(found):
                stack.pop()
        if stack and stack[-1].same(found):
            stack.pop()
        stack.append(found)
    return stack


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


def last(entries: list[Entry]) -> Champion | None:
    """The champion that the journal knows of."""
    done = next((entry for entry in reversed(entries) if entry["state"] == "done"), None)
    return None if done is None or done["to"] is None else Champion(done["to"], done.get("digest"))


def agrees(known: Champion | None, present: Champion | None) -> bool:
    """The journal and MLflow speak of the same version, or both of none."""
    if known is None or present is None:
        return known is present
    return known.version == present.version and known.same(present)


def reconcile(
    refs: Refs, model: str, present: Champion | None, why: Callable[[Champion | None], str]
) -> tuple[list[Entry], str | None]:
    """Finish what a crash left begun, by where the alias is now, and record a move outside the gate.

    A transition is done if the alias reached its aim, undone if it did not. `why` says what was done to the champion
    that the journal knows. To be called under the model's lease; the entries, and what was found, if anything was.
    """
    entries, found = history(refs, model), None
    if entries and entries[-1]["state"] == "begun":
        reached = agrees(Champion(entries[-1]["to"], entries[-1].get("digest")), present)
        close(refs, model, "done" if reached else "undone")
        entries = history(refs, model)
    before = last(entries)
    if not agrees(before, present):
        found = why(before)
        moved: Entry = {"from": before and before.version, "to": present and present.version}
        digest = present and present.digest
        append(refs, model, action=OUTSIDE, **moved, digest=digest, reason=found, state="done")
    return history(refs, model), found


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
