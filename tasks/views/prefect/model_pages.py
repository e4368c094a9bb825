"""Pages about models: curves, evaluations beside their baselines, the gate's decision, registered versions."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.core.engine.reporting import Made, Run
from tasks.core.number_format import BEGINNING, change, number
from tasks.core.services import links
from tasks.core.workdir import METRICS_FILE
from tasks.formats.evaluation import SAMPLES_FILE, TRAINING_SAMPLES_FILE
from tasks.formats.metrics import values
from tasks.models import kind as kinds
from tasks.views.prefect.markdown import Markup, code, interval, join, link, plain, table
from tasks.views.prefect.plots import read_rows

LARGEST = 80_000
"""Bytes of pictures that a page carries within itself."""
ROWS, SAMPLES = 12, 5
ROOM = {"how": 80, "prompt": 120, "text": 300}
"""Most characters of each part of a sample."""
UNSHOWN = ("time", "skipped_updates", "tokens_per_second_per_device", "seconds_left")
"""What a page's curve leaves out: of use while it is drawn, or the same as another column."""


def pictures(folder: Path) -> str:
    """The pictures of an artifact, carried in the page itself."""
    found, left = [], LARGEST
    for file in sorted((folder / "aux" / "plots").glob("*.png")):
        data = file.read_bytes()
        if len(data) <= left:
            left -= len(data)
            found.append(f"![{file.stem.replace('_', ' ')}](data:image/png;base64,{base64.b64encode(data).decode()})")
    return "\n\n".join(found)


def training(run: Run, made: Made) -> str:
    """A training: its result, its curve, how far it came how fast."""
    assert made.folder is not None
    rows = read_rows(made.folder / "aux" / METRICS_FILE)
    plain_stats = {k: v for k, v in made.stats.items() if isinstance(v, (int, float, str)) and k not in ("loss",)}
    metrics = made.stats.get("metrics", {})
    said = ", ".join(f"{kinds.metric(name).label} {value}" for name, value in values(metrics).items())
    return join(
        f"# {made.label}",
        f"**{said}**" if said else None,
        pictures(made.folder),
        "## Curve" if rows else None,
        table(_thinned(rows)),
        _samples(_meanwhile(read_rows(made.folder / "aux" / TRAINING_SAMPLES_FILE))),
        "## Figures",
        table([{"": name.replace("_", " "), "value": value} for name, value in plain_stats.items()]),
        footer(run, made),
    )


def _meanwhile(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the network wrote at first, half-way and at last."""
    chosen = [rows[n] for n in sorted({0, len(rows) // 2, len(rows) - 1})] if rows else []
    return [{**one, "how": f"step {row['step']}"} for row in chosen for one in row["samples"]]


def _samples(found: Sequence[Mapping[str, Any]]) -> str | None:
    """Prompts and what was written after them: a list, as the cells of Prefect's tables do not wrap."""
    said = []
    for one in found:
        how, prompt, text = (plain(str(one.get(name, "")), most) for name, most in ROOM.items())
        said.append(f"- {how} **{prompt or BEGINNING}** → {text}")
    return "\n".join(["## Samples\n", *said]) if said else None


def _thinned(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """At most `ROWS` rows of a curve, the first and the last among them; a measure made rarely keeps its rows."""
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name not in UNSHOWN]
    every = max(1, (len(rows) + ROWS - 2) // (ROWS - 1))
    rare = [n for n, row in enumerate(rows) if "valid_loss" in row]
    chosen = sorted({*range(0, len(rows), every), *rare[:: max(1, len(rare) // ROWS)], len(rows) - 1} - {-1})
    return [{name.replace("_", " "): rows[n].get(name) for name in names} for n in chosen]


def evaluation(run: Run, made: Made) -> str:
    """An evaluation: measures with their intervals beside what they have to beat, pictures, samples."""
    assert made.folder is not None
    metrics = dict(made.stats.get("metrics", {}))
    file = made.folder / "content" / SAMPLES_FILE
    samples = json.loads(file.read_bytes()) if file.exists() else []
    return join(
        f"# {made.step.replace('_', ' ').capitalize()}",
        f"**{_headline(made.step, metrics)}**",
        "## Beside the baselines",
        table(_beside(made.step, metrics)),
        pictures(made.folder),
        "## All measures",
        table(_all(metrics)),
        _samples(samples[:SAMPLES]),
        footer(run, made),
    )


def _all(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each metric with its 95 % interval, where there is one."""
    return [
        {"metric": kinds.metric(name).title, "value": value.value, "95 % interval": interval(metrics, name)}
        for name, value in values(metrics).items()
    ]


def _headline(step: str, metrics: Mapping[str, Any]) -> str:
    name, found = kinds.headline(step, metrics), values(metrics)
    if name is None:
        return "nothing was measured"
    kind, metric = kinds.measured_by(step), kinds.metric(name)
    said = f"{metric.label} {found[name]}"
    for baseline, who in kind.baselines.items() if kind and metric.better else ():
        if (other := metrics.get(f"{baseline}_{name}")) is not None:
            beats = metrics[name] > other if metric.higher_is_better else metrics[name] < other
            said += f"; the model {'beats' if beats else 'does not beat'} {who} ({number(other)})"
    return said


def _beside(step: str, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    kind, rows = kinds.measured_by(step), list[dict[str, Any]]()
    baselines = kind.baselines if kind else {}
    shown = {metric.name for metric in kind.compared} if kind else set[str]()
    shown |= {name for name in metrics if any(f"{baseline}_{name}" in metrics for baseline in baselines)}
    for name in (name for name in values(metrics) if name in shown):
        rows.append({"measure": kinds.metric(name).label, "who": Markup("**the model**"), "value": metrics[name]})
        rows[-1]["95 % interval"] = interval(metrics, name)
        for baseline, who in baselines.items():
            if (known := f"{baseline}_{name}") in metrics:
                rows.append({"measure": "", "who": who, "value": metrics[known]})
                rows[-1]["95 % interval"] = interval(metrics, known)
    return rows


def gate(run: Run, made: Made) -> str:
    """The gate's decision: the verdict first, then the comparison, then the reasons."""
    found = made.stats
    verdict = "Accepted" if found["accepted"] else "Refused"
    rule = Markup(f"{plain(found['rule'].replace('_', ' '))} on {code(found['metric'])}")
    rows: list[dict[str, Any]] = [{"": "rule", "value": rule}, {"": "margin", "value": f"{found['margin']:g}"}]
    rows += [{"": "items", "value": found["items"]}, {"": "items at least", "value": found["min_items"]}]
    beside = [] if found["first"] else [_against("the champion", found["champion"], found, found["confidence"])]
    for floor in found["floors"]:
        who = kinds.baselines().get(floor["baseline"], floor["baseline"])
        row = _against(who, floor["value"], {**found, **floor}, found["confidence"])
        beside.append({**row, "floor": "holds" if floor["holds"] else Markup("**does not hold**")})
    return join(
        f"# Gate: {verdict.lower()}: the candidate {plain(found['verdict'])}",
        table(beside),
        table(rows),
        "\n".join(f"- {reason}" for reason in found["reasons"]) if len(found["reasons"]) > 1 else None,
        footer(run, made),
    )


def _against(who: str, value: float, found: Mapping[str, Any], confidence: float) -> dict[str, Any]:
    """A row of what the candidate was compared with; a difference above 0 means that the candidate is better."""
    low, high = found["interval"]
    return {
        "against": who,
        "candidate": found["candidate"],
        "its": value,
        "difference (more is better)": change(found["difference"]),
        f"{confidence:.0%} interval": f"{change(low)} to {change(high)}",
        "p (no gain)": found["p"],
    }


def version(run: Run, made: Made) -> str:
    """A registered or promoted version, and where it is shown."""
    name, number = made.stats["name"], made.stats["version"]
    aliases = made.stats.get("aliases", [])
    promoted = made.stats.get("promoted")
    replaced = made.stats.get("replaced")
    verb = "generate" if kinds.of(made.stats["kind"]).writes else "predict"
    rows = {
        "model": code(name),
        "version": str(number),
        "kind": made.stats.get("kind", ""),
        "aliases": ", ".join(aliases),
        "in place of": f"version {replaced}" if replaced else "",
        "weights": code(made.stats.get("digest", "")[:16]),
    }
    return join(
        f"# {name} version {number}: {'promoted' if promoted else 'registered'}",
        table([{"": what, "value": value} for what, value in rows.items() if value]),
        f"{link('The version in MLflow', links.model_version(run.home, name, number))}, with its card.",
        f'Try it: `fromzero {verb} {name}@{"champion" if promoted else number} "Hello"`',
        footer(run, made),
    )


def short(ref: str) -> str:
    """STEP/KEY with as much of the key as people need."""
    step, _, found = ref.partition("/")
    return f"{step}/{found[:12]}" if found else step


def footer(run: Run, made: Made) -> str:
    """Where to look further: the artifact and its lineage, the MLflow run."""
    said = []
    if made.about:
        said.append(f"artifact `{short(made.about['ref'])}`")
        said.append(f"digest `{made.about['digest'][:16]}`")
    tracked, experiment = made.about.get("mlflow_run"), run.mlflow[0] if run.mlflow else None
    if tracked and experiment:
        said.append(link("MLflow run", links.mlflow_run(run.home, experiment, tracked)))
    elif run.mlflow_page:
        said.append(link("MLflow run", run.mlflow_page))
    return "---\n\n" + " · ".join(said) if said else ""
