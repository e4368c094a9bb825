"""The report's part about models: what was measured, beside what, and what the gate decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.core.artifact import Manifest
from tasks.formats.metrics import PRIMARY, primary_name
from tasks.models import kind as kinds
from tasks.views.report.charts import Mark
from tasks.views.report.gather import Run, Step

NAMES = {
    "bits_per_byte": "bits per byte",
    "nats_per_byte": "nats per byte",
    "macro_f1": "macro F1",
    "roc_auc": "ROC-AUC",
    "ece": "calibration error",
    "nats": "loss in nats",
}
HIGHER = ("accuracy", "macro_f1", "roc_auc")
LOWER = ("bits_per_byte", "nats_per_byte", "perplexity", "ece", "nats")


@dataclass(frozen=True)
class Value:
    """A measured value and the ends of its interval."""

    value: float
    low: float | None = None
    high: float | None = None


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
    decision: dict[str, Any] | None
    evaluation: Manifest | None
    incumbent: Manifest | None
    """The evaluation of the champion that it had to beat."""
    metric: str

    def values(self) -> dict[str, Value]:
        """The metrics of the model itself, and of what is simpler, by their full names."""
        return _values(self.evaluation)

    def head(self) -> Value | None:
        """The metric that decides."""
        return self.values().get(self.metric)

    def champion(self) -> Value | None:
        """The same metric of the champion."""
        return _values(self.incumbent).get(self.metric)

    def better(self) -> str:
        """Whether higher or lower values of the deciding metric are better."""
        return "higher" if self.metric in HIGHER else "lower"

    def is_better(self, one: Value, other: Value) -> bool:
        """By the deciding metric, intervals aside."""
        return one.value > other.value if self.better() == "higher" else one.value < other.value

    def baselines(self, metric: str) -> list[tuple[str, Value]]:
        """The same metric of what is simpler than a model, or the gate's figure where that was measured apart."""
        values, decision = self.values(), self.decision or {}
        floors = decision.get("floors", ()) if decision.get("metric") == metric else ()
        apart = {f"{one['baseline']}_{metric}": Value(one["value"]) for one in floors}
        known = {**apart, **values}
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
        return [
            name
            for name, value in self.baselines(self.metric)
            if head and not floors.get(name, self.is_better(head, value))
        ]

    def marks(self) -> list[Mark]:
        """The deciding metric of the model, by source too, the champion's and the baselines', to be drawn."""
        marks = [_mark("this model", self.head(), "model"), _mark("champion before", self.champion(), "champion")]
        marks += [_mark(name, value, "baseline") for name, value in self.baselines(self.metric)]
        parts = [name for name in self.values() if name.startswith(f"{self.metric}/")]
        marks += [_mark(f"on {name.partition('/')[2]}", self.values()[name], "model") for name in parts]
        return [mark for mark in marks if mark]

    def table(self) -> list[dict[str, Any]]:
        """A row for each metric: the model's value, the champion's, and those of the baselines."""
        theirs, baselines = _values(self.incumbent), [f"{prefix}_" for prefix in kinds.baselines()]
        return [
            {
                "name": metric_name(name),
                "better": "higher" if _root(name) in HIGHER else "lower" if _root(name) in LOWER else "",
                "ours": value,
                "champion": theirs.get(name),
                "baselines": dict(self.baselines(name)),
                "head": name == self.metric,
            }
            for name, value in self.values().items()
            if not name.startswith((*baselines, "beats_"))
        ]


def metric_name(name: str) -> str:
    """As a reader says it: `bits_per_byte/chat` is bits per byte, chat."""
    root, _, part = name.partition("/")
    return NAMES.get(root, root.replace("_", " ")) + (f", {part}" if part else "")


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
    gate = _first(group.get("gate")).manifest if "gate" in group else None
    inputs = [one for one in gate.inputs if one["step"] == gate.inputs[0]["step"]] if gate else []
    ours, theirs = group[name][0].manifest, group[name][1].manifest if len(group[name]) > 1 else None
    about = _registered(run, name, place)
    state, reasons = _state(group)
    decision = run.read_json(gate, "content/decision.json")
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
        evaluation=ours or (run.look(dict(inputs[0])) if inputs else None),
        incumbent=theirs or (run.look(dict(inputs[1])) if len(inputs) > 1 else None),
        metric=(decision or {}).get("metric") or _head(ours),
    )


def _head(evaluation: Manifest | None) -> str:
    """The metric that stands for a model where the gate names none."""
    metrics = evaluation.stats.get("metrics") if evaluation else None
    return primary_name(metrics) if metrics else PRIMARY[0]


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


def _first(steps: list[Step] | None) -> Step:
    assert steps
    return steps[0]


def _values(evaluation: Manifest | None) -> dict[str, Value]:
    """Metrics with their intervals; `x_lo` and `x_hi` belong to `x`."""
    raw = dict(evaluation.stats.get("metrics", {})) if evaluation else {}
    return {
        name: Value(float(value), raw.get(f"{name}_lo"), raw.get(f"{name}_hi"))
        for name, value in raw.items()
        if not name.endswith(("_lo", "_hi"))
    }


def _mark(label: str, value: Value | None, kind: str) -> Mark | None:
    return Mark(label, value.value, value.low, value.high, kind) if value else None


def _root(name: str) -> str:
    return name.partition("/")[0]
