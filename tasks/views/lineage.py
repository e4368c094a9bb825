"""What was made from what: of a run, the shards of a step taken together; of one artifact, back to its sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.core.artifact import Manifest
from tasks.core.store.store import Store
from tasks.views.model_view import Model
from tasks.views.run_data import Run, Step, referenced

SOURCE, MADE, REUSED, EARLIER, MODEL = "source", "made", "reused", "earlier", "model"
WORDS = {EARLIER: "of an earlier run"}


@dataclass(eq=False)
class Node:
    """A step of the run with its artifacts, a source, or a registered version."""

    title: str
    kind: str
    """source, made or reused by the run, earlier (made by a run before it), or model."""
    about: str = ""
    """The kind of a source, what became of a model, or whose the artifact is if it is not the run's own."""
    artifacts: list[Step] = field(default_factory=list)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of a source."""
    inputs: list[Node] = field(default_factory=list)
    """What it was made from, each once."""

    @property
    def state(self) -> str:
        """In a few words; of an artifact how the run came by it."""
        return ", ".join(word for word in (self.about, self._how()) if word)

    def _how(self) -> str:
        return "" if self.kind in (SOURCE, MODEL) else WORDS.get(self.kind, self.kind)

    def take(self, other: Node) -> None:
        """It was made from another one as well."""
        if other is not self and other not in self.inputs:
            self.inputs.append(other)


class Lineage:
    """The nodes of a run: its steps, the sources before them, the versions after them, and artifacts of earlier runs
    that something was made from."""

    def __init__(self, run: Run, models: Iterable[Model]) -> None:
        self._named: dict[str, Node] = {}
        self._holding: dict[str, Node] = {}
        """By STEP/KEY of an artifact the node that it is in."""
        models = list(models)
        champions = {model.before.key for model in models if model.before}
        steps = {step.path: step for step in run.steps if step.inputs is not None}.values()
        for step in steps:
            self._enter(step, "the champion's" if step.key in champions else "")
        for step in steps:
            for ref in step.inputs or ():
                self._holding[step.path].take(self._made_before(run, ref))
        self._add_sources(run)
        self._add_open_models()
        for model in models:
            self._add_model(model)

    @property
    def nodes(self) -> list[Node]:
        """All of them, each after those that it was made from."""
        done: list[Node] = []
        waiting = [(node, False) for node in reversed(self._named.values())]
        entered = set[Node]()
        while waiting:
            node, is_ready = waiting.pop()
            if is_ready:
                done.append(node)
            elif node not in entered:
                entered.add(node)
                waiting += [(node, True), *((before, False) for before in reversed(node.inputs))]
        return done

    def _enter(self, step: Step, about: str) -> None:
        """Shards of a step share a node; other artifacts of one step get one each."""
        node = self._named.setdefault(step.name if step.shard else step.path, Node(step.name, REUSED, about))
        node.artifacts.append(step)
        node.kind = node.kind if step.state == "cached" else MADE
        self._holding[step.path] = node

    def _made_before(self, run: Run, ref: Mapping[str, Any]) -> Node:
        artifact = run.look(ref)
        if artifact.path not in self._holding:
            node = self._named.setdefault(f"{EARLIER} {artifact.name}", Node(artifact.name, EARLIER))
            node.artifacts.append(artifact)
            self._holding[artifact.path] = node
        return self._holding[artifact.path]

    def _add_sources(self, run: Run) -> None:
        data = run.config.get("data", {})
        evaluations = data.get("decontaminate", {}).get("against", {})
        for step, sources in (("fetch_shard", data.get("sources", {})), ("fetch_evaluation", evaluations)):
            for name, options in (sources if step in self._named else {}).items():
                node = Node(name, SOURCE, f"source: {options.get('kind', '')}", options=options)
                self._named[f"source {step} {name}"] = node
                self._named[step].take(node)

    def _add_open_models(self) -> None:
        """What others made, before the step that brought it."""
        for node in [*self._named.values()]:
            for step in node.artifacts:
                if origin := step.stats.get("origin"):
                    licence = origin["licence"] or "not stated"
                    title = str(origin["start"])
                    source = Node(title, SOURCE, f"open model, licence {licence}", options={"licence": licence})
                    node.take(self._named.setdefault(f"open model {title}", source))

    def _add_model(self, model: Model) -> None:
        evaluation = model.evaluation
        if model.version is None or evaluation is None:
            return
        node = self._named[f"model {model.name}"] = Node(f"{model.name} v{model.version}", MODEL, model.state)
        gates = [one for one in self._named.values() if any(_decided(step, evaluation) for step in one.artifacts)]
        for gate in gates:
            node.take(gate)
        if not node.inputs and evaluation.path in self._holding:
            node.take(self._holding[evaluation.path])
        if evaluation.inputs and (weights := _path(evaluation.inputs[0])) in self._holding:
            node.take(self._holding[weights])


def _decided(step: Step, evaluation: Step) -> bool:
    """Whether a step is the gate that was given this evaluation as the candidate's."""
    return step.name == "gate" and bool(step.inputs) and _path((step.inputs or [{}])[0]) == evaluation.path


def _path(ref: Mapping[str, Any]) -> str:
    return f"{ref['step']}/{ref['key']}"


def ancestry(store: Store, start: Manifest) -> dict[str, Any]:
    """What an artifact was made from, as a tree of {step, shard, key, digest, made_by, adopted, inputs}; what several
    were made from is one object in all of them."""
    known: dict[str, dict[str, Any]] = {}
    adopted: dict[str, dict[str, Any]] = {}

    def of(manifest: Manifest) -> dict[str, Any]:
        if manifest.step not in adopted:
            adopted[manifest.step] = store.get_ref(f"adopted/{manifest.step}")[0] or {}
        return {
            "step": manifest.step,
            "shard": manifest.shard,
            "key": manifest.key,
            "digest": manifest.digest,
            "made_by": manifest.made_by,
            "adopted": adopted[manifest.step].get(manifest.key, []),
            "inputs": [before(ref) for ref in manifest.inputs],
        }

    def before(ref: Mapping[str, Any]) -> dict[str, Any]:
        step = referenced(store, ref)
        if step.path not in known:
            gone = {"step": step.name, "shard": step.shard, "key": step.key, "digest": ref["digest"], "gone": True}
            known[step.path] = of(step.manifest) if step.manifest else gone
        return known[step.path]

    return of(start)
