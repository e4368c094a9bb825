"""Whether the journal and MLflow speak of the same champions, and what people have done where they do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from tasks.core.checks import OK, WARN, Check
from tasks.core.errors import FromzeroError
from tasks.register import journal, registry
from tasks.register.journal import Champion, Refs
from tasks.register.mlflow_reader import ModelVersion


class Journals(Refs, Protocol):
    """What is needed of the store."""

    def refs(self) -> dict[str, dict[str, Any]]:
        """All named refs."""


def identity(version: ModelVersion) -> Champion:
    """A version as the journal knows it."""
    return Champion(version.version, version.digest)


def what_was_done(name: str, known: list[ModelVersion], before: Champion | None) -> str:
    """What people have done to the champion that the journal knows."""
    present = next((version for version in known if registry.CHAMPION in version.aliases), None)
    now = f"version {present.version}" if present else "none"
    if before is None:
        return f"{now} was made champion outside of fromzero"
    if not known:
        return f"version {before.version} was champion; nothing is registered as {name} any more, by somebody's hand"
    there = next((version for version in known if version.version == before.version), None)
    kept = there is not None and before.same(identity(there))
    done = "moved the alias" if kept else "deleted it"
    return f"version {before.version} was champion, and somebody has {done}: the champion was {now}"


def examine(refs: Journals, uri: str) -> list[Check]:
    """A row for each model that the journal knows or that has a version of ours; nothing is changed."""
    prefix = journal.ref_name("")
    try:
        known = {name.removeprefix(prefix) for name in refs.refs() if name.startswith(prefix)}
        others = {
            name for name in registry.names(uri) if any(version.digest for version in registry.versions(uri, name))
        }
        names = sorted(known | others)
        return [check for name in names for check in _examine(refs, uri, name)]
    except FromzeroError as error:
        return [Check("models", WARN, f"the registry cannot be looked at: {error}")]


def _examine(refs: Refs, uri: str, name: str) -> Iterator[Check]:
    known, before = registry.versions(uri, name), journal.last(journal.history(refs, name))
    present = next((version for version in known if registry.CHAMPION in version.aliases), None)
    row = f"model {name}"
    if not journal.agrees(before, identity(present) if present else None):
        fix = "if that was meant, nothing: the next promotion notes it"
        if before is not None and any(before.same(identity(version)) for version in known):
            fix += f"; else `fromzero promote {name} {before.version} --force`"
        elif before is not None:
            fix += f"; the next run registers its weights anew, `fromzero rollback {name}` takes a champion before it"
        yield Check(row, WARN, what_was_done(name, known, before), fix)
    elif present is not None and (wrong := registry.damage(uri, present)):
        fix = f"the same run again registers the weights anew, if they are stored; or `fromzero rollback {name}`"
        yield Check(row, WARN, f"version {present.version} is champion, but {wrong[0]}", fix)
    else:
        yield Check(row, OK, f"version {present.version} is champion" if present else "no champion")
