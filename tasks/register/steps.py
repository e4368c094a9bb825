"""Registering and promoting: effects, done once and recognised as done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from conf.schema.release import RegisterConf
from tasks.core.artifact import Artifact, Manifest, sha256
from tasks.core.events import result
from tasks.core.step import NETWORK, Cpu, Stats, effect
from tasks.core.workdir import Workdir
from tasks.formats.document_files import documents_in
from tasks.formats.evaluation import SAMPLES_FILE

if TYPE_CHECKING:
    from tasks.core.checks import Check
    from tasks.register.conversation import Conversation
    from tasks.register.examine import Journals
    from tasks.register.journal import Refs

MADE_FROM = {"data": "inputs", "code": "code", "config": "conf"}
"""Tags, and the part of the model's manifest whose digest each shows."""


def find_registered(
    model: Artifact, evaluation: Artifact, documents: tuple[Artifact, ...] = (), conf: RegisterConf | None = None
) -> Stats | None:
    """The version with these weights if it is there, whole, and known by this evaluation; light."""
    from tasks.register import registry

    assert conf is not None
    found = registry.find(_uri(), conf.name, model.digest)
    if found is None or found.tags.get("fromzero.evaluation") != f"{evaluation.step}/{evaluation.key}":
        return None
    return _registered(conf, found.version, model.digest)


def find_promoted(
    registered: dict[str, Any],
    champion: dict[str, Any] | None,
    decision: Artifact,
    hours: float | None = None,
    conf: RegisterConf | None = None,
) -> Stats | None:
    """The version if it is the champion already and its files are there, or if it awaits approval; light."""
    from tasks.register import approval, registry

    uri = _uri()
    present = registry.with_alias(uri, registered["name"], registry.CHAMPION)
    if present is not None and present.version == registered["version"] and not registry.damage(uri, present):
        return {**registered, "aliases": list(present.aliases), "promoted": True}
    known = {version.version: version for version in registry.versions(uri, registered["name"])}
    target = known.get(registered["version"]) if hours is not None else None
    compared_with = champion["version"] if champion else None
    if target is None or compared_with != (present.version if present else None):
        return None
    waits = approval.waiting(target)
    return {**registered, "aliases": list(target.aliases), "promoted": False, **waits} if waits else None


@effect(check=find_registered, resources=Cpu(1, memory_gb=1.0), retry=NETWORK, needs=("mlflow",))
def register_model(
    model: Artifact,
    evaluation: Artifact,
    documents: tuple[Artifact, ...] = (),
    *,
    conf: RegisterConf,
    work: Workdir,
) -> Stats:
    """Register a transformers folder in MLflow: model, its evaluation, the documents it learnt → name and version.

    Weights that are registered and whole keep their version; then only tags and card are brought up to date.
    """
    from tasks.core.store.open import open_store
    from tasks.core.tracking.mlflow_db import prepare
    from tasks.formats.licence_counts import by_licence
    from tasks.register import card, origins, registry
    from tasks.register import package as packing
    from tasks.register.context import run_context
    from tasks.register.integrity import LOAD_FROM
    from tasks.register.mlflow_writer import client_for, held

    run, store = run_context(), open_store()
    uri = prepare(run.home)  # the database may be gone, or MLflow would make one in the folder where this stands
    maker = store.look(model.step, model.key)
    made_from = {**maker.made_from, "code": maker.made_by.get("code")} if isinstance(maker, Manifest) else {}
    learnt = (documents_in(shard, "train") for shard in documents)
    sources = run.sources or by_licence((table for table in learnt if table.exists()), characters=True)
    samples = evaluation / SAMPLES_FILE
    shown = json.loads(samples.read_text()) if samples.exists() else []
    before = origins.origins(store, model.step, model.key)
    text = card.write_card(conf, model, evaluation, sources, shown, run, before)
    tags = {
        "fromzero.digest": model.digest,
        "fromzero.artifact": f"{model.step}/{model.key}",
        "fromzero.evaluation": f"{evaluation.step}/{evaluation.key}",
        **{f"fromzero.{what}": sha256(made_from[part]) for what, part in MADE_FROM.items() if part in made_from},
        "fromzero.flow_run": run.flow_run,
        "fromzero.mlflow_run": run.mlflow_run,
        **{f"fromzero.{where}_page": page for where, page in run.pages.items()},
        "fromzero.commit": run.git.get("commit"),
        "fromzero.load_from": LOAD_FROM,
        "fromzero.part": model.part_name,
        "fromzero.origin": ", ".join(one["start"] for one in before) or None,
        "fromzero.origin_licence": ", ".join(one["licence"] or "not stated" for one in before) or None,
    }
    known = {key: str(value) for key, value in tags.items() if value is not None}
    with held(store, f"register/{conf.name}", uri):
        found = registry.find(uri, conf.name, model.digest)
        package = packing.Package(
            conf.name, conf.kind, model.path, model.sums(), text, card.description(text), known, run.mlflow_run
        )  # fmt: skip
        if found is None:
            return _registered(conf, packing.register(uri, package), model.digest)
        client = client_for(uri)
        for key, value in known.items():
            client.set_model_version_tag(conf.name, str(found.version), key, value)
        client.update_model_version(conf.name, str(found.version), package.description)
        return _registered(conf, found.version, model.digest)


@effect(check=find_promoted, resources=Cpu(1, memory_gb=1.0), retry=NETWORK, needs=("mlflow",))
def promote_model(
    registered: dict[str, Any],
    champion: dict[str, Any] | None,
    decision: Artifact,
    hours: float | None = None,
    *,
    conf: RegisterConf | None = None,
    work: Workdir,
) -> Stats:
    """Make a registered version the champion if the gate's decision says so and the champion is still `champion`,
    with which it was compared.

    With `hours` a person is asked first, and has so long to answer. Raises `Refused` with a table of the reasons.
    """
    from tasks.core.store.open import open_store
    from tasks.register import promotion

    moved = promotion.promote_accepted(open_store(), _uri(), registered, champion, decision, hours)
    if moved.get("waiting"):
        return {**registered, "aliases": [], "promoted": False, **moved}
    if moved["found"]:
        result(moved["found"])
    return {**registered, "aliases": ["champion"], "promoted": True, "replaced": moved["from"]}


def check_form() -> None:
    """Raise `ConfigError` unless there is a server that can ask a person."""
    from tasks.register import approval

    approval.form()


def answer(
    refs: Refs, name: str, version: int, approve: bool, reason: str, by: str, asked: str | None = None
) -> dict[str, Any]:
    """A person's answer about a version that waits for it; {name, to, from, moved}."""
    from tasks.register import promotion

    return promotion.answer(refs, _uri(), name, version, approve, reason, by, asked)


def end_form(name: str, version: int, why: str) -> None:
    """Nobody is asked about this version any more."""
    from tasks.register import approval, registry

    approval.end_form(registry.resolve(_uri(), f"{name}@{version}"), why)


def champion_of(name: str, model: Any) -> dict[str, Any] | None:
    """The champion that a candidate has to beat (or had to, if it is the champion itself): an observation, light.

    None also where the champion's weights cannot be had any more: promoting says so.
    """
    from tasks.core.store.open import open_store
    from tasks.register import registry, weights

    uri, digest = _uri(), getattr(model, "digest", None)
    found = registry.compared_with(uri, name, digest) if digest else registry.champion(uri, name)
    if found is None:
        return None
    version = registry.resolve(uri, f"{name}@{found['version']}", whole=False)
    return None if weights.unmeasurable(open_store(), uri, version) else found


def weights_of(champion: dict[str, Any]) -> Artifact:
    """The model directory of an observed champion, to be measured like any other."""
    from tasks.core.store.open import open_store
    from tasks.register import registry, weights
    from tasks.register.context import run_context

    version = registry.resolve(_uri(), f"{champion['name']}@{champion['version']}", whole=False)
    return weights.find(open_store(), _uri(), version, run_context().home)


def starting_point(ref: str) -> Artifact:
    """What training goes on from, by models:/NAME@ALIAS, models:/NAME/VERSION or store:STEP/KEY: an observation, light.

    With all that its training left behind if the store still has it, else a registered model's weights alone.
    """
    from tasks.core.store.open import open_store
    from tasks.register import registry, weights
    from tasks.register.context import run_context

    store, (kind, _, name) = open_store(), ref.partition(":")
    if kind == "store":
        return Artifact.of(store.find(name))
    version = registry.resolve(_uri(), name.strip("/").replace("/", "@"))
    model = weights.find(store, _uri(), version, run_context().home)
    made = store.look(model.step, model.key) if model.root is None else None
    return Artifact.of(made) if isinstance(made, Manifest) else model


def artifact_of(ref: str) -> str:
    """STEP/KEY of the artifact that NAME[@ALIAS|@VERSION] was registered from."""
    from tasks.core.errors import ArtifactError
    from tasks.register import registry

    tags = registry.resolve(_uri(), ref).tags
    if "fromzero.artifact" not in tags:
        raise ArtifactError(f"{ref} was not registered by fromzero: it has no lineage here")
    return tags["fromzero.artifact"]


def artifacts_of_models() -> list[str]:
    """STEP/KEY of every artifact that a registered version came from: models and evaluations."""
    from tasks.register import registry

    tags = [version.tags for name in registry.names(_uri()) for version in registry.versions(_uri(), name)]
    kinds = ("fromzero.artifact", "fromzero.evaluation", "fromzero.decision")
    return sorted({known[kind] for known in tags for kind in kinds if kind in known})


def damaged() -> Iterator[tuple[str, list[str]]]:
    """NAME@VERSION of every registered version, and what of its files is not as registered: every byte is read."""
    from tasks.register import registry
    from tasks.register.generate import package_folder
    from tasks.register.integrity import changed

    for version in (one for name in registry.names(_uri()) for one in registry.versions(_uri(), name)):
        wrong = registry.damage(_uri(), version)
        if not wrong:
            with package_folder(_uri(), version) as folder:
                wrong = changed(version, folder, anew=True)
        yield f"{version.name}@{version.version}", wrong


def registered() -> list[dict[str, Any]]:
    """All registered versions: name, version, aliases, and artifact: STEP/KEY of what each came from, if known."""
    from tasks.register import registry

    return [
        {
            "name": name,
            "version": one.version,
            "aliases": list(one.aliases),
            "artifact": one.tags.get("fromzero.artifact"),
        }
        for name in registry.names(_uri())
        for one in registry.versions(_uri(), name)
    ]


def aliases_of(name: str, version: int) -> list[str]:
    """Aliases of a version."""
    from tasks.register import registry

    return [alias for found in registry.versions(_uri(), name) if found.version == version for alias in found.aliases]


def promote(refs: Refs, name: str, version: int, reason: str, force: bool = False) -> dict[str, Any]:
    """Make a version the champion by hand; {name, to, from, moved, found}."""
    from tasks.register import promotion

    return promotion.promote(refs, _uri(), name, version, reason, force)


def rollback(refs: Refs, name: str) -> dict[str, Any]:
    """Make the newest champion before this one that still exists champion again; {name, to, from, moved, found}."""
    from tasks.register import promotion

    return promotion.rollback(refs, _uri(), name)


def examine(refs: Journals) -> list[Check]:
    """What `doctor` shows of the registry: each model, and where MLflow and the journal disagree."""
    from tasks.register import examine as looking

    return looking.examine(refs, _uri())


def generate(
    model: str,
    prompt: str,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Continue or answer a prompt with NAME[@ALIAS|@VERSION]; `on_text` gets the text as it is written."""
    from tasks.register import generate as writing

    return writing.generate(_uri(), model, prompt, max_new_tokens, temperature, seed, on_text)


def predict(model: str, texts: list[str]) -> list[Any]:
    """What NAME[@ALIAS|@VERSION] answers to each text: a text, or a row of its kind's columns."""
    from tasks.register import generate as writing

    return writing.predict(_uri(), model, texts)


def converse(model: str, max_new_tokens: int, temperature: float, seed: int) -> Conversation:
    """A conversation with the chat model NAME[@ALIAS|@VERSION], loaded; raises `ConfigError` if it does not chat."""
    from tasks.register.conversation import Conversation

    return Conversation(_uri(), model, max_new_tokens, temperature, seed)


def measured(ref: str) -> dict[str, Any]:
    """What NAME[@ALIAS|@VERSION] is and how it was measured: name, version, kind, digest, evaluation (STEP/KEY)."""
    from tasks.core.errors import ArtifactError
    from tasks.register import registry

    found = registry.resolve(_uri(), ref)
    if found.digest is None or "fromzero.evaluation" not in found.tags:
        raise ArtifactError(f"{found.name} version {found.version} was not evaluated by fromzero: nothing to compare")
    shown = {"name": found.name, "version": found.version, "digest": found.digest}
    return {**shown, "kind": found.tags.get("fromzero.kind"), "evaluation": found.tags["fromzero.evaluation"]}


def _uri() -> str:
    """Where MLflow is; a home that was moved is put right first."""
    from tasks.core.databases import home_databases
    from tasks.core.tracking.mlflow_db import prepare
    from tasks.register.context import run_context

    run = run_context()
    return prepare(run.home) if home_databases.mlflow(run.home).exists() else run.tracking_uri


def _registered(conf: RegisterConf, version: int, digest: str) -> Stats:
    return {"name": conf.name, "version": version, "digest": digest, "kind": conf.kind, "primary": conf.primary}
