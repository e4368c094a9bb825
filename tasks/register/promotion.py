"""Move the champion's alias: through the gate, by hand, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from tasks.core.artifact import Artifact
from tasks.core.errors import ArtifactError, ConfigError, Refused, Transient
from tasks.core.services import run_events
from tasks.formats.evaluation import DECISION_FILE
from tasks.register import approval, journal, registry, weights
from tasks.register.examine import identity, what_was_done
from tasks.register.generate import weights_folder
from tasks.register.journal import Champion, Entry, Refs
from tasks.register.mlflow_reader import ModelVersion
from tasks.register.mlflow_writer import client_for, held

history = journal.history


class Kept(Refs, weights.Looks, Protocol):
    """What promoting needs of the store."""


def promote(refs: Refs, uri: str, name: str, version: int, reason: str, force: bool = False) -> dict[str, Any]:
    """Make a version the champion by hand; name, to, from, moved, found (what people have done meanwhile, or None).

    Without `force` only a version that the gate has accepted is promoted. Raises `Refused`, or `ConfigError` or
    `ArtifactError` if there is no such version or its files are gone.
    """
    target = registry.resolve(uri, f"{name}@{version}")
    verdict = target.tags.get("fromzero.gate", "never compared")
    if verdict != "accepted" and not force:
        raise Refused(f"the gate did not accept {name} version {version} ({verdict}); force promotes it all the same")
    with held(refs, journal.ref_name(name), uri):
        _, found = _settled(refs, uri, name)
        moved = _move(refs, uri, target, action="promote", reason=reason, forced=verdict != "accepted")
        if target.tags.get(approval.STATE) == "waiting":
            _tag(uri, target, {approval.STATE: "approved", approval.REASON: f"by command: {reason}"})
            approval.end_form(target, f"promoted by command: {reason}")
        return {**moved, "found": found}


def rollback(refs: Refs, uri: str, name: str, reason: str = "rolled back by hand") -> dict[str, Any]:
    """Give the alias back to the newest champion before that still exists; name, to, from, moved, found.

    Raises `ConfigError` if there is none, `ArtifactError` if the files of those that exist are gone.
    """
    with held(refs, journal.ref_name(name), uri):
        entries, found = _settled(refs, uri, name)
        notes, damaged = [found] if found else [], list[str]()
        for champion, target in _earlier(uri, name, entries):
            wrong = registry.damage(uri, target) if target is not None else ["it was deleted in MLflow"]
            if target is not None and not wrong:
                moved = _move(refs, uri, target, action="rollback", reason=reason)
                return {**moved, "found": "; ".join(notes) or None}
            notes.append(f"version {champion.version} is passed over: {wrong[0]}")
            damaged += [] if target is None else [f"{name} version {target.version}: {wrong[0]}"]
        if damaged:
            raise ArtifactError(f"{damaged[0]}; no champion before it can come back either")
        present = registry.with_alias(uri, name, registry.CHAMPION)
        if not notes and present is None:
            registry.resolve(uri, name)  # says so if there is no such model
        said = f"{name} had no champion before {f'version {present.version}' if present else 'this'}"
        raise ConfigError("; ".join([f"{said}{' that still exists' if notes else ''}", *notes]))


def promote_accepted(
    refs: Kept,
    uri: str,
    registered: dict[str, Any],
    compared: dict[str, Any] | None,
    decision: Artifact,
    hours: float | None = None,
) -> dict[str, Any]:
    """Make a version the champion because the gate accepted it against `compared`; name, to, from, moved, found.

    With `hours` a person has the last word, for so long: what `approval.waiting` says is returned instead. Raises
    `Refused` with the reasons if the gate did not accept, if the champion is not `compared` any more, if somebody has
    rolled these weights back, or if the person said no or nothing.
    """
    name = registered["name"]
    decision = replace(decision, stats=decision.read_json(DECISION_FILE))  # what its digest covers
    with held(refs, journal.ref_name(name), uri):
        entries, found = _settled(refs, uri, name)
        target = registry.resolve(uri, f"{name}@{registered['version']}")
        present = registry.with_alias(uri, name, registry.CHAMPION)
        if present is not None and present.digest == target.digest:
            why = "its weights are the champion's"
            moved = _move(refs, uri, target, action="promote by the gate", reason=why, decision=decision.digest)
            return {**moved, "found": found}
        reasons = _objections(decision, journal.rolled_back(entries, str(target.digest)))
        lost = weights.unmeasurable(refs, uri, present) if present is not None and compared is None else None
        if present is None or present.digest is None or lost is None:
            reasons += _compared_with_another(present, compared)
        else:
            found = "; ".join(filter(None, [found, f"version {present.version} was champion, but {lost}"]))
        client = client_for(uri)
        client.set_model_version_tag(name, str(target.version), "fromzero.decision", f"{decision.step}/{decision.key}")
        accepted = "accepted" if decision.stats["accepted"] else "refused"
        client.set_model_version_tag(name, str(target.version), "fromzero.gate", accepted)
        if hours is not None:
            reasons += _person_objects(uri, target)
        if reasons:
            rows = rows_of(target, compared, decision, reasons)
            told = "\n".join(f"  {key:<11} {value}" for key, value in rows)
            raise Refused(f"{name} version {target.version} is not promoted: {_cause(decision, reasons)}\n{told}")
        replaced = json.dumps(present.version if present else None)
        client.set_model_version_tag(name, str(target.version), "fromzero.incumbent", replaced)
        if hours is not None and target.tags.get(approval.STATE) != "approved":
            return _asked(uri, target, compared, decision, hours)
        why = str(decision.stats.get("rule", "accepted"))
        moved = _move(refs, uri, target, action="promote by the gate", reason=why, decision=decision.digest)
        return {**moved, "found": found}


def _person_objects(uri: str, target: ModelVersion) -> list[str]:
    if approval.expired(target):
        _tag(uri, target, {approval.STATE: "refused", approval.REASON: f"nobody answered until {_until(target)}"})
        return [f"nobody answered until {_until(target)}"]
    if target.tags.get(approval.STATE) == "refused":
        return [f"a person refused it: {target.tags.get(approval.REASON)}"]
    return []


def _until(target: ModelVersion) -> str:
    return str(target.tags.get(approval.UNTIL))


def _asked(
    uri: str, target: ModelVersion, compared: dict[str, Any] | None, decision: Artifact, hours: float
) -> dict[str, Any]:
    """Ask, if that is not done; what a run says while it waits."""
    if found := approval.waiting(target):
        return found
    reasons = [str(reason) for reason in decision.stats.get("reasons", ())]
    _tag(uri, target, approval.ask(target, hours, rows_of(target, compared, decision, reasons)))
    asked = approval.waiting(registry.resolve(uri, f"{target.name}@{target.version}"))
    if asked is None:
        raise Transient(f"the form for {target.name} version {target.version} was ended as soon as it was asked")
    return asked


def _tag(uri: str, target: ModelVersion, tags: dict[str, str]) -> None:
    for key, value in tags.items():
        client_for(uri).set_model_version_tag(target.name, str(target.version), key, value)


def answer(
    refs: Refs, uri: str, name: str, version: int, approve: bool, reason: str, by: str, asked: str | None = None
) -> dict[str, Any]:
    """A person's answer about a version that waits: name, to, from, moved; what was said is kept in tags and journal.

    `asked` is the flow run whose form it was: an older form's answer does not count. Raises `Refused` if nothing waits
    for it, its time is over, or the champion is not the one that it was compared with any more.
    """
    with held(refs, journal.ref_name(name), uri):
        _settled(refs, uri, name)
        try:
            target = registry.resolve(uri, f"{name}@{version}")
        except (ConfigError, ArtifactError) as gone:
            raise Refused(f"{name} version {version} does not wait for an answer any more: {gone}") from gone
        if told := _past_asking(target, approve, asked):
            raise Refused(f"{name} version {version} does not wait for an answer ({told})")
        present = registry.with_alias(uri, name, registry.CHAMPION)
        said = {approval.REASON: f"{by}: {reason}"}
        if not approve:
            _tag(uri, target, {approval.STATE: "refused", **said})
            return {"name": name, "to": present.version if present else None, "from": None, "moved": False}
        compared = target.read_tag("fromzero.incumbent", int)
        if compared != (present.version if present else None):
            now = f"version {present.version}" if present else "none"
            _tag(uri, target, {approval.STATE: "refused", approval.REASON: f"the champion is now {now}"})
            raise Refused(
                f"{name} version {version} was compared with {f'version {compared}' if compared else 'no champion'}, "
                f"but the champion is now {now}: run again to compare with that"
            )
        moved = _move(refs, uri, target, action="promote by a person", reason=reason, by=by)
        _tag(uri, target, {approval.STATE: "approved", **said})
        return moved


def _compared_with_another(present: ModelVersion | None, compared: dict[str, Any] | None) -> list[str]:
    now = (present.version, present.digest) if present else None
    then = (int(compared["version"]), compared["digest"]) if compared else None
    if now == then:
        return []
    if present is not None and present.digest is None:
        return [
            f"the champion is version {present.version}, which fromzero did not register and cannot measure: "
            "`fromzero promote` with a version decides"
        ]
    return [
        f"it was compared with {f'version {then[0]}' if then else 'no champion'}, but the champion is now "
        f"{f'version {now[0]}' if now else 'none'}: run again to compare with that"
    ]


def _objections(decision: Artifact, taken_down: Entry | None) -> list[str]:
    reasons = []
    if not decision.stats["accepted"]:
        reasons += [str(reason) for reason in decision.stats.get("reasons", ())] or ["the gate did not accept it"]
    if taken_down is not None:
        reasons.append(
            f"these weights were rolled back by {taken_down['by']} at {taken_down['at']} ({taken_down['reason']}): "
            "only `fromzero promote` brings them back"
        )
    return reasons


def _cause(decision: Artifact, reasons: list[str]) -> str:
    """What decided, on one line."""
    verdict = "" if decision.stats["accepted"] else decision.stats.get("verdict")
    return f"it {verdict}" if verdict else reasons[0]


def _past_asking(target: ModelVersion, approve: bool, asked: str | None) -> str | None:
    """Why an answer does not count any more, or None."""
    state = target.tags.get(approval.STATE)
    if state != "waiting":
        return target.tags.get(approval.REASON) or state or "it was never asked about"
    if approve and approval.expired(target):
        return f"nobody answered until {_until(target)}"
    return None if asked in (None, target.tags.get(approval.RUN)) else "it has been asked anew: answer the newer form"


def rows_of(
    target: ModelVersion, compared: dict[str, Any] | None, decision: Artifact, reasons: list[str]
) -> list[tuple[str, str]]:
    """What a person sees of a comparison: when a model is refused, and when they have the last word."""
    rows = [("candidate", f"{target.name} version {target.version}")]
    rows += [("champion", f"version {compared['version']}" if compared else "none")]
    for field in ("rule", "metric", "difference", "interval", "p"):
        if (value := decision.stats.get(field)) is not None:
            ends = value if isinstance(value, list) else [value]
            rows.append((field, " to ".join(f"{end:.5g}" if isinstance(end, float) else str(end) for end in ends)))
    return [*rows, *(("reason", reason) for reason in reasons)]


def _settled(refs: Refs, uri: str, name: str) -> tuple[list[Entry], str | None]:
    """The journal, brought up to date with what MLflow has; what people have done to the champion, if anything."""
    known = registry.versions(uri, name)
    present = next((identity(version) for version in known if registry.CHAMPION in version.aliases), None)
    entries, found = journal.reconcile(refs, name, present, lambda before: what_was_done(name, known, before))
    _point_back(uri, name, entries)
    return entries, found


def _earlier(uri: str, name: str, entries: list[Entry]) -> Iterator[tuple[Champion, ModelVersion | None]]:
    """The champions before the present one, newest first, each with the version that has its weights now, if any."""
    known = registry.versions(uri, name)
    present = next((identity(version) for version in known if registry.CHAMPION in version.aliases), None)
    for champion in reversed(journal.champions(entries)):
        if present is None or not champion.same(present):
            same = [version for version in known if champion.same(identity(version))]
            same.sort(key=lambda version: (not registry.damage(uri, version), version.version == champion.version))
            yield champion, same[-1] if same else None


def _move(refs: Refs, uri: str, target: ModelVersion, *, action: str, reason: str, **more: Any) -> dict[str, Any]:
    """Journal, move the alias, complete the journal. A crash in between is settled at the next look."""
    name, present = target.name, registry.with_alias(uri, target.name, registry.CHAMPION)
    if wrong := registry.damage(uri, target):
        raise ArtifactError(f"{name} version {target.version}: {wrong[0]}")
    with weights_folder(uri, target):  # where its files are elsewhere, only their bytes tell whether they are the same
        pass
    if present is not None and present.version == target.version:
        return {"name": name, "to": target.version, "from": present.version, "moved": False}
    moved = {"from": present.version if present else None, "from_digest": present.digest if present else None}
    journal.append(
        refs, name, action=action, to=target.version, digest=target.digest, reason=reason, **moved, **more
    )  # fmt: skip
    client_for(uri).set_registered_model_alias(name, registry.CHAMPION, str(target.version))
    journal.close(refs, name, "done")
    _point_back(uri, name, history(refs, name))
    said, about = f"{name} version {target.version} is champion: {reason}", run_events.resource("model", name)
    run_events.tell(run_events.PROMOTION, about, said, version=target.version, replaced=moved["from"], action=action)
    return {"name": name, "to": target.version, "from": moved["from"], "moved": True}


def _point_back(uri: str, name: str, entries: list[Entry]) -> None:
    """Let the alias `previous` show where a rollback would go."""
    there = (version for _, version in _earlier(uri, name, entries) if version and not registry.damage(uri, version))
    wanted, found = next(there, None), registry.with_alias(uri, name, registry.PREVIOUS)
    if wanted is not None and (found is None or found.version != wanted.version):
        client_for(uri).set_registered_model_alias(name, registry.PREVIOUS, str(wanted.version))
    elif wanted is None and found is not None:
        client_for(uri).delete_registered_model_alias(name, registry.PREVIOUS)
