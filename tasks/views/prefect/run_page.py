"""The page about a whole run: how it ended, what it made, what it found, where to look further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core import liveness, number_format
from tasks.core.engine.reporting import Run
from tasks.core.number_format import seconds
from tasks.core.services import links
from tasks.formats.metrics import Metric, Value
from tasks.views.lineage import Node
from tasks.views.model_view import Model
from tasks.views.prefect.markdown import Markup, code, fence, join, link, plain, table, warnings
from tasks.views.run_data import Step
from tasks.views.run_view import RunView

ROOM = 400
"""Most characters of a refusal in the heading."""


def summary(run: Run, state: str, view: RunView) -> str:
    """Verdict, steps, measures, models, addresses."""
    steps = view.run.steps
    states = [step.state for step in steps]
    made, failed = states.count("completed"), states.count("failed")
    counts = f"{made} made, {states.count('cached')} reused" + (f", {failed} failed" if failed else "")
    wrong = [step for step in steps if step.state in ("failed", "refused")]
    how = "refused by the gate" if state == "completed" and wrong else state
    refused = [plain(cause, ROOM) for cause in view.refusals]
    return join(
        f"# {run.name}: {how}{': ' if refused else ''}{'; '.join(refused)}",
        f"**{counts}.**" + ("" if made or state == "failed" else " Nothing had changed."),
        *(f"**{step.label} {step.state}**\n\n{fence(step.message)}" for step in wrong),
        "\n".join(f"- {plain(sentence, ROOM)}" for sentence in view.verdict.sentences),
        warnings(view.warnings),
        "## Models" if (registered := view.run.record.get("models")) else None,
        table([_version(run, about) for about in registered or ()]),
        "## Measures" if (measures := _measures(view)) else None,
        table(measures),
        "## Documents" if view.way else None,
        view.way,
        "## Steps",
        table(_steps(steps)),
        "## Lineage" if view.lineage else None,
        table([_made_from(node) for node in view.lineage]),
        "## Where to look further",
        "\n".join(f"- {line}" for line in _places(run)),
    )


def _steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    rows = []
    for name in dict.fromkeys(step.name for step in steps):
        own = [step for step in steps if step.name == name]
        states = [step.state for step in own]
        said = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        spent = sum(step.seconds for step in own if step.state != "cached")
        keys = {step.key[:12] for step in own if step.key}
        artifact = code(f"{name}/{keys.pop()}") if len(keys) == 1 else f"{len(keys)} artifacts" if keys else ""
        rows.append({"step": name, "state": said, "time": seconds(spent) if spent else "", "artifact": artifact})
    return rows


def _made_from(node: Node) -> dict[str, Any]:
    from_these = Markup(", ".join(code(before.title) for before in node.inputs))
    return {"": code(node.title), "is": node.state, "made from": from_these}


def _measures(view: RunView) -> list[dict[str, Any]]:
    """The headline of each model beside what it had to beat, and of each training."""
    rows = [row for model in view.models for row in _of_model(model)]
    return [*rows, *(_measure(label, *measured[0]) for label, measured in view.other_measurements)]


def _of_model(model: Model) -> list[dict[str, Any]]:
    head, champion = model.head(), model.champion()
    if head is None:
        return []
    beside = ", ".join(f"{name} {value}" for name, value in model.baselines())
    return [_measure(model.name, model.metric, head) | {"baselines": beside, "champion before": str(champion or "")}]


def _measure(of: str, metric: Metric, value: Value) -> dict[str, Any]:
    ends = Markup(number_format.interval(value.low, value.high))
    return {"of": of, "measure": metric.title, "value": value.value, "95 % interval": ends}


def _version(run: Run, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": link(about["name"], links.model_version(run.home, about["name"], about["version"])),
        "version": str(about["version"]),
        "kind": about.get("kind", "") + (" (primary)" if about.get("primary") else ""),
        "aliases": ", ".join(about.get("aliases", [])),
    }


def _places(run: Run) -> list[str]:
    reports = run.home.resolve() / "reports"
    lines = [f"{link('This flow run', run.prefect_page)}: graph, logs, artifacts"]
    if run.mlflow_page:
        lines.append(f"{link('Its run in MLflow', run.mlflow_page)}: curves, system metrics, pictures")
    else:
        lines.append(f"{link('MLflow', links.mlflow_pages(run.home))}: earlier runs, registered models")
    lines.append(f"The report: `fromzero report {liveness.short(run.id)}` writes it into `{reports}`")
    lines.append(f"Logs: `{run.home.resolve() / 'logs' / run.id}`")
    return lines
