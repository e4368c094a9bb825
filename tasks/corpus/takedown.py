"""Documents that were taken down: remembered in the store, and left out by every run from then on.

The ref `takedown` is `{"documents": […], "looked": {digest: n}}`. A document is `{"id", "source", "uri", "at", "held",
"undone"}`: `held` are the digests of the artifacts of `ROOTS` that held it when it was taken down, `undone` is when
that was taken back. The list only grows. `looked` names the artifacts in which all documents from the n-th on were
looked for: of these such an artifact is told only those that it holds, so that the keys of what holds none stay as they
are. An artifact that nobody has looked into is told of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.core.errors import ConfigError, Conflict
from tasks.core.store.store import Store

REF = "takedown"
ROOTS = ("fetch_shard", "freeze_evalset")
"""Steps whose artifacts' documents are looked through by a run: where documents come in, and where they are frozen."""
SHORTEST = 6
"""Digits of an id's start that name a document."""

Memory = Mapping[str, Any]


def concerning(artifacts: Sequence[Any], memory: Memory | None) -> tuple[list[tuple[str, ...]], Memory | None]:
    """An observation: the ids that each artifact of `ROOTS` is to go without, sorted; none for what is not made yet."""
    return [_ids(getattr(artifact, "digest", None), memory) for artifact in artifacts], memory


def _ids(digest: str | None, memory: Memory | None) -> tuple[str, ...]:
    if memory is None or digest is None:
        return ()
    since = memory["looked"].get(digest, len(memory["documents"]))
    told = {
        document["id"]
        for n, document in enumerate(memory["documents"])
        if not document["undone"] and (n < since or digest in document["held"])
    }
    return tuple(sorted(told))


def page(doc: str) -> str | None:
    """What the uris hold of the pages that web archives have under an address; None for what is no web address."""
    return f"!{doc}#" if doc.startswith(("http://", "https://")) else None


def in_force(memory: Memory | None) -> list[dict[str, Any]]:
    """The documents that are taken down now, in the order in which they were."""
    return [document for document in (memory or {}).get("documents", ()) if not document["undone"]]


def record(
    store: Store, documents: Iterable[Mapping[str, str]], held: Mapping[str, Iterable[str]], looked: Iterable[str]
) -> None:
    """Take documents (id, source, uri) down; those that are already stay as they are.

    `looked` are the digests of the artifacts of `ROOTS` that were looked into, `held` says which of them hold each id.
    """
    found, wanted = sorted(set(looked)), list(documents)

    def add(memory: dict[str, Any]) -> dict[str, Any]:
        known, before = {one["id"] for one in in_force(memory)}, memory["documents"]
        new = [
            {**{name: one[name] for name in ("id", "source", "uri")}, "at": _now(), "undone": None}
            | {"held": sorted(set(held.get(one["id"], ())))}
            for one in wanted
            if one["id"] not in known
        ]
        since = {digest: memory["looked"].get(digest, len(before)) for digest in found}
        return {"documents": [*before, *new], "looked": since} if new else memory

    _change(store, add)


def undo(store: Store, doc: str) -> list[dict[str, Any]]:
    """Let documents come back that a start of an id, a uri, or a page's web address names; returns them.

    Raises `ConfigError` if none of those that are taken down is meant.
    """
    start, inside = doc if len(doc) >= SHORTEST else None, page(doc)
    now = in_force(store.get_ref(REF)[0])
    back = [
        one
        for one in now
        if one["uri"] == doc or (inside and inside in one["uri"]) or (start and one["id"].startswith(start))
    ]
    if not back:
        raise ConfigError(f"{doc!r} is not taken down; `fromzero takedown` lists what is")
    ids, at = {one["id"] for one in back}, _now()

    def release(memory: dict[str, Any]) -> dict[str, Any]:
        released = [
            {**one, "undone": at} if one["id"] in ids and not one["undone"] else one for one in memory["documents"]
        ]
        return {**memory, "documents": released}

    _change(store, release)
    return back


def _change(store: Store, change: Any) -> None:
    while True:
        memory, etag = store.get_ref(REF)
        new = change(memory or {"documents": [], "looked": {}})
        try:
            if new != memory:
                store.set_ref(REF, new, etag)
            return
        except Conflict:
            continue


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
