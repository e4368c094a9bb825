"""What an artifact's key is made from, and what changed since another was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from conf.schema.base import present_name
from tasks.core.artifact import FORMAT, Artifact, Manifest
from tasks.core.errors import Conflict
from tasks.core.plan.fingerprint import fingerprint, versions_of
from tasks.core.step import Call, Step
from tasks.core.store.store import Store


def artifacts_in(value: Any) -> list[Artifact]:
    """All artifacts in an input, in order."""
    if isinstance(value, (tuple, list)):
        return [artifact for item in value for artifact in artifacts_in(item)]
    return [value] if isinstance(value, Artifact) else []


def input_for_key(value: Any) -> Any:
    """An input as it enters a key: digests for artifacts, with their shard if they are one."""
    if isinstance(value, Artifact):
        return [value.shard, value.digest] if value.shard else value.digest
    if isinstance(value, (tuple, list)):
        return [input_for_key(item) for item in value]
    return {"value": value} if value is not None else None


def conf_for_key(conf: Any) -> Any:
    """A step's own options as they enter its key."""
    return conf.for_key() if conf is not None else None


def code_for_key(step: Step) -> dict[str, str]:
    """The code as it enters a key: the version of an expensive step, else the digest of all that it reaches."""
    return {"version": step.version} if step.version else {"digest": fingerprint(step).digest}


def made_from(call: Call) -> dict[str, Any]:
    """What a call's key is the sha256 of: step, code (or version), options, the inputs' digests in order, format."""
    return {
        "step": call.step.name,
        "code": code_for_key(call.step),
        "conf": conf_for_key(call.conf),
        "inputs": [input_for_key(item) for item in call.inputs],
        "format": FORMAT,
    }


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested options as dotted names."""
    if isinstance(value, dict) and value:
        return {name: leaf for key, item in value.items() for name, leaf in flat(item, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}


SHOWN = 12
"""So many modules that differ are named; a move changes the names of many."""


def differences(then: Manifest, call: Call, new: Mapping[str, Any], names: Sequence[str] = ()) -> list[str]:
    """In words, which parts of a key changed since an artifact was made, from what to what; `names` are the inputs'."""
    said, old, step = [], then.made_from, call.step
    before, after = flat(old.get("conf") or {}), flat(new.get("conf") or {})
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            shown = present_name(name, type(call.conf)) if call.conf is not None else name
            said.append(f"{shown}: {before.get(name, 'unset')} → {after.get(name, 'unset')}")
    if old["code"] != new["code"]:
        said.append(_code_difference(then, step))
    if old["inputs"] != new["inputs"]:
        pairs = zip_longest(names, old["inputs"], new["inputs"])
        changed_inputs = [str(name) for name, before, after in pairs if before != after and name is not None]
        said.append(f"other input ({', '.join(changed_inputs)})" if changed_inputs else "other input")
    if old["format"] != new["format"]:
        said.append(f"format {old['format']} → {new['format']}")
    return said


def _code_difference(then: Manifest, step: Step) -> str:
    old, new = then.made_from["code"], code_for_key(step)
    if "version" in new:
        return f"code of {', '.join(changed_code(old, new))}"
    if "digest" not in old:
        return "its code, whose digest no longer holds names of files"
    return f"code of {', '.join(changed_code(then.made_by.get('code', {}), versions_of(step)))}"


def changed_code(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The modules, data files and libraries whose digests or versions differ."""
    found = [
        f"{name} {old.get(name)} → {new.get(name)}" if "." not in name else name
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    return found if len(found) <= SHOWN else [*found[:SHOWN], f"{len(found) - SHOWN} more"]


def code_changes(store: Store, step: Step, found: Manifest) -> list[str]:
    """For an expensive step: the modules whose code differs from what made the artifact, unless that was adopted."""
    if not step.version:
        return []
    now = fingerprint(step)
    if now.digest == found.made_by.get("fingerprint"):
        return []
    adopted = (store.get_ref(f"adopted/{step.name}")[0] or {}).get(found.key, [])
    if now.digest in (entry["code"] for entry in adopted):
        return []
    return changed_code(found.made_by.get("code", {}), now.parts)


def adopt(store: Store, step: Step, key: str, record: dict[str, Any]) -> None:
    """Record that the present code stands behind an artifact that other code made."""
    while True:
        known, etag = store.get_ref(f"adopted/{step.name}")
        value = known or {}
        value[key] = [*value.get(key, []), {"code": fingerprint(step).digest, **record}]
        try:
            store.set_ref(f"adopted/{step.name}", value, etag)
            return
        except Conflict:
            continue
