"""The models of a run: what was measured, beside what, and what the gate decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.formats.metrics import Metric, Value, values
from tasks.models import kind as kinds
from tasks.views.run_data import Run, Step


@dataclass(frozen=True)
class Model:
    """What became of one model of the run."""

    name: str
    kind: str
    version: int | None
    primary: bool
    state: str
    """promoted, champion (it was already), refused, waiting (for a person), failed, or measured (undecided)."""
    replaced: int | None
    reasons: tuple[str, ...]
    decision: Mapping[str, Any] | None
    evaluation: Step | None
    before: Step | None
    """The evaluation of the champion that it had to beat."""
    metric: Metric
    """The one that decides."""

    def values(self) -> dict[str, Value]:
        """The metrics of the model itself, and of what is simpler, by their full names."""
        return _values(self.evaluation)

    def head(self) -> Value | None:
        """The metric that decides."""
        return self.values().get(self.metric.name)

    def champion(self) -> Value | None:
        """The same metric of the champion."""
        return _values(self.before).get(self.metric.name)

    def is_better(self, one: Value, other: Value) -> bool:
        """By the deciding metric, intervals aside; nothing is where it has no direction."""
        if self.metric.higher_is_better is None:
            return True
        return one.value > other.value if self.metric.higher_is_better else one.value < other.value

    def baselines(self, metric: str = "") -> list[tuple[str, Value]]:
        """A metric, by default the deciding one, of what is simpler than a model, or the gate's figure where that was
        measured apart."""
        metric = metric or self.metric.name
        own, decision = self.values(), self.decision or {}
        floors = decision.get("floors", ()) if decision.get("metric") == metric else ()
        apart = {f"{one['baseline']}_{metric}": Value(one["value"]) for one in floors}
        known = {**apart, **own}
        return [
            (name, known[f"{prefix}_{metric}"])
            for prefix, name in kinds.baselines().items()
            if f"{prefix}_{metric}" in known
        ]

    def cause(self) -> str:
        """Why the gate refused it, on one line; empty where the gate did not, or an older one wrote none."""
        refused = self.state == "refused" and self.decision and not self.decision["accepted"]
        return str(self.decision.get("verdict", "")) if refused and self.decision else ""

    def beaten_by(self) -> list[str]:
        """Baselines that it does not beat: those whose floor does not hold, else those with a better value."""
        floors = {
            kinds.baselines().get(one["baseline"], ""): one["holds"] for one in (self.decision or {}).get("floors", ())
        }
        head = self.head()
        return [name for name, value in self.baselines() if head and not floors.get(name, self.is_better(head, value))]

    def table(self) -> list[dict[str, Any]]:
        """A row for each metric: the model's value, the champion's, and those of the baselines."""
        theirs, baselines = _values(self.before), [f"{prefix}_" for prefix in kinds.baselines()]
        return [
            {
                "metric": kinds.metric(name),
                "ours": value,
                "champion": theirs.get(name),
                "baselines": dict(self.baselines(name)),
                "head": name == self.metric.name,
            }
            for name, value in self.values().items()
            if not name.startswith((*baselines, "beats_"))
        ]


def models(run: Run) -> list[Model]:
    """The models that the run came to evaluate, the primary one first; what is not known of one is left empty."""
    groups = [(n, group) for n, group in enumerate(_releases(run)) if not _never_came(group)]
    found = [_model(run, group, n) for n, group in groups]
    return sorted(found, key=lambda model: not model.primary)


def _releases(run: Run) -> list[dict[str, list[Step]]]:
    """The steps of each release by name: a release begins with an evaluation that no gate has used before."""
    groups: list[dict[str, list[Step]]] = []
    for step in run.steps:
        if kinds.evaluated_by(step.name) is not None:
            if not groups or step.label not in groups[-1]:
                groups.append({})
            groups[-1].setdefault(step.label, []).append(step)
        elif step.name in ("register_model", "gate", "promote_model") and groups:
            groups[-1].setdefault(step.name, []).append(step)
    return groups


def _never_came(group: dict[str, list[Step]]) -> bool:
    """Whether a run ended before it evaluated the model."""
    return all(step.state == "skipped" for step in next(iter(group.values())))


def _model(run: Run, group: dict[str, list[Step]], place: int) -> Model:
    name = next(iter(group))
    decision = group["gate"][0].stats or None if "gate" in group else None
    ours, *others = group[name]
    theirs = others[0] if others else None
    if decision and not (ours.stats and (theirs or decision.get("first"))):
        ours, theirs = _compared(run, group["gate"][0], ours, theirs)
    about = _registered(run, name, place)
    state, reasons = _state(group)
    if state == "refused" and decision and not decision.get("accepted"):
        reasons = tuple(decision.get("reasons", ()))
    return Model(
        name=about.get("name") or _step(name).removeprefix("evaluate_"),
        kind=about.get("kind") or _step(name).removeprefix("evaluate_"),
        version=about.get("version"),
        primary=bool(about.get("primary")),
        state=state,
        replaced=about.get("replaced"),
        reasons=reasons,
        decision=decision,
        evaluation=ours if ours.stats else None,
        before=theirs if theirs and theirs.stats else None,
        metric=kinds.metric((decision or {}).get("metric") or _head(_step(name), ours)),
    )


def _compared(run: Run, gate: Step, ours: Step, theirs: Step | None) -> tuple[Step, Step | None]:
    """The evaluations of the candidate and of the champion, those that the run does not name by what the gate was
    given."""
    given = gate.manifest.inputs if gate.manifest else ()
    of_gate = [run.look(one) for one in given if one["step"] == given[0]["step"]]
    return (
        ours if ours.stats or not of_gate else of_gate[0],
        theirs or (of_gate[1] if len(of_gate) > 1 else None),
    )


def _head(step: str, evaluation: Step) -> str:
    """The metric that stands for a model where the gate names none."""
    return kinds.headline(step, evaluation.stats.get("metrics", {})) or ""


def _registered(run: Run, evaluation: str, place: int) -> dict[str, Any]:
    known = run.record.get("models", [])
    kind = kinds.evaluated_by(_step(evaluation))
    names = (kind.name, *kind.former) if kind else ()
    found = [model for model in known if model.get("kind") in names]
    if len(found) > 1:  # several of one kind: in the order of their evaluations
        return dict(known[place]) if place < len(known) else {}
    if found:
        return dict(found[0])
    return dict(known[place]) if place < len(known) and not known[place].get("kind") else {}


def _step(label: str) -> str:
    return label.partition("[")[0]


def _state(group: dict[str, list[Step]]) -> tuple[str, tuple[str, ...]]:
    for step in (step for steps in group.values() for step in steps):
        if step.state == "failed":
            return "failed", (step.message or f"{step.label} failed",)
    if "promote_model" not in group:
        return "measured", ()
    last = group["promote_model"][-1]
    words = {"completed": "promoted", "cached": "champion", "refused": "refused", "waiting": "waiting"}
    reasons = tuple(line.strip() for line in last.message.splitlines()[1:] if line.strip())
    return words.get(last.state, "measured"), reasons


def _values(evaluation: Step | None) -> dict[str, Value]:
    return values(evaluation.stats.get("metrics", {})) if evaluation else {}
