"""The page about a whole run: how it ended, what it made, what it found, where to look further."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.core import liveness, run_warnings
from tasks.core.engine.reporting import Run
from tasks.core.engine.workspace import Outcome
from tasks.core.number_format import number, seconds
from tasks.core.services import links
from tasks.formats.metrics import PRIMARY
from tasks.views.prefect.markdown import code, fence, interval, join, link, plain, table, warnings

REGISTERED = ("register_model", "promote_model")
ROOM = 400
"""Most characters of a refusal in the heading."""


def summary(run: Run, state: str, outcomes: Sequence[Outcome]) -> str:
    """Verdict, steps, measures, models, addresses."""
    states = [outcome.state for outcome in outcomes]
    made, failed = states.count("completed"), states.count("failed")
    counts = f"{made} made, {states.count('cached')} reused" + (f", {failed} failed" if failed else "")
    wrong = [outcome for outcome in outcomes if outcome.state in ("failed", "refused")]
    how = "refused by the gate" if state == "completed" and wrong else state
    causes = [outcome.message.partition("\n")[0] for outcome in outcomes if outcome.state == "refused"]
    refused = [plain(cause, ROOM) for cause in causes if cause]
    return join(
        f"# {run.name}: {how}{': ' if refused else ''}{'; '.join(refused)}",
        f"**{counts}.**" + ("" if made or state == "failed" else " Nothing had changed."),
        *(f"**{o.label} {o.state}**\n\n{fence(o.message)}" for o in wrong),
        warnings(run_warnings.of(outcomes)),
        "## Models" if (models := _models(run, outcomes)) else None,
        table(models),
        "## Measures" if (measures := _measures(outcomes)) else None,
        table(measures),
        "## Steps",
        table(_steps(outcomes)),
        "## Where to look further",
        "\n".join(f"- {line}" for line in _places(run)),
    )


def _steps(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    rows = []
    for step in dict.fromkeys(outcome.step for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.step == step]
        states = [outcome.state for outcome in own]
        said = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        spent = sum(outcome.seconds for outcome in own if outcome.state != "cached")
        keys = {outcome.key[:12] for outcome in own if outcome.key}
        artifact = code(f"{step}/{keys.pop()}") if len(keys) == 1 else f"{len(keys)} artifacts" if keys else ""
        rows.append({"step": step, "state": said, "time": seconds(spent) if spent else "", "artifact": artifact})
    return rows


def _measures(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    rows = []
    for outcome in outcomes:
        metrics = outcome.stats.get("metrics") or {}
        name = next((name for name in PRIMARY if name in metrics), None)
        if name is not None:
            beside = [
                f"{other.removesuffix(name).rstrip('_').replace('_', ' ')} {number(metrics[other])}"
                for other in metrics
                if other.endswith(f"_{name}") and not other.startswith(name)
            ]
            rows.append({"step": outcome.step, "measure": name.replace("_", " "), "value": metrics[name]})
            rows[-1] |= {"95 % interval": interval(metrics, name), "baselines": ", ".join(beside)}
    return rows


def _models(run: Run, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        if outcome.step in REGISTERED and "version" in outcome.stats:
            found.setdefault(outcome.stats["name"], {}).update(outcome.stats)
    return [
        {
            "model": link(name, links.model_version(run.home, name, about["version"])),
            "version": str(about["version"]),
            "kind": about.get("kind", "") + (" (primary)" if about.get("primary") else ""),
            "aliases": ", ".join(about.get("aliases", [])),
        }
        for name, about in found.items()
    ]


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
