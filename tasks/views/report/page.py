"""The report as one HTML file that loads nothing: all that a run shows of itself, put into the page's template.

Documents and samples are untrusted: the template escapes everything, and the page's policy lets only its own style and
its own script act.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tasks.core import number_format as figures
from tasks.core.plan.keys import flat
from tasks.core.store.open import home
from tasks.core.store.store import Store
from tasks.corpus.funnel import Stage, set_aside, without
from tasks.views import run_verdict
from tasks.views.model_view import Model
from tasks.views.palette import DARK, LIGHT, SERIES, SERIES_DARK, most_frequent
from tasks.views.report import charts, cost_section, data_section, lineage_section, training_section
from tasks.views.run_data import Run
from tasks.views.run_view import RunView

FOLDER = Path(__file__).parent
SAMPLES_SHOWN, SHADES = 6, 9
LONGEST = 1200
"""Characters of a sample that are shown."""
SHOWN = ("name", "run", "recipe", "started", "seconds", "command", "urls", "warnings")
"""Fields of the record that the template shows; older records lack some."""


def write(store: Store, name: str, record: dict[str, Any], out: Path | None = None) -> Path:
    """Write the report of a run to `out`, by default HOME/reports/NAME.html; returns where it is."""
    path = out or home() / "reports" / f"{name}.html"
    page = render(RunView.recorded(store, name, record))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # texts may hold halves of surrogate pairs
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def render(view: RunView) -> str:
    """The page as text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    for form in (figures.count, figures.size, figures.seconds, figures.share, figures.number, figures.interval,
                 figures.moment, figures.plural, _visible):  # fmt: skip
        environment.filters[form.__name__.lstrip("_")] = form
    environment.globals["beginning"] = figures.BEGINNING
    environment.filters["json"] = functools.partial(json.dumps, ensure_ascii=False)
    style, script = _style(), (FOLDER / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        **_context(view),
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
    )


def _visible(text: str) -> str:
    """Text of which a reader sees all: much white space is counted instead of shown, very long text is cut."""
    text = text[:LONGEST] + ("…" if len(text) > LONGEST else "")
    text = re.sub(r"\s+", _breaks, text)
    return re.sub(r" {6,}", lambda found: f" ⟨{len(found[0])} spaces⟩ ", text).strip()


def _breaks(blank: re.Match[str]) -> str:
    lines = blank[0].count("\n")
    return f" ⟨{lines} line breaks⟩ " if lines > 2 else blank[0]


def _hash(text: str) -> str:
    """The source expression of an inline style or script (Content Security Policy Level 2)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _style() -> str:
    def tokens(colours: dict[str, str], series: tuple[str, ...]) -> str:
        return "".join(f"--{name}:{value};" for name, value in colours.items()) + "".join(
            f"--s{n}:{value};" for n, value in enumerate(series)
        )

    light, dark = tokens(LIGHT, SERIES), tokens(DARK, SERIES_DARK)
    themes = f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    return themes + (FOLDER / "page.css").read_text(encoding="utf-8")


def _context(view: RunView) -> dict[str, Any]:
    run = view.run
    efforts = cost_section.efforts(run)
    graph = lineage_section.place(view.lineage)
    commit, dirty = cost_section.commit(run)
    return {
        "run": run,
        "record": dict.fromkeys(SHOWN) | dict(run.record),
        "view": view,
        "verdict": view.verdict,
        "why": view.why,
        "models": [_shown(view, n, model) for n, model in enumerate(view.models)],
        "efforts": efforts,
        "total": cost_section.total(efforts),
        "prices": cost_section.prices(run.config),
        "watts": cost_section.watts(run),
        "lost": [step for step in run.steps if step.lost],
        "stages": view.stages,
        "way": view.way,
        "anew": view.anew,
        "repeated": view.repeated,
        "funnel": _funnel(view.stages),
        "overlaps": view.overlaps,
        "examples": data_section.examples(run),
        "sources": data_section.sources(run),
        "tokenizer": data_section.tokenizer(run),
        "trainings": [_drawn(n, one) for n, one in enumerate(training_section.trainings(run))],
        "graph": graph,
        "drawing": lineage_section.draw(graph),
        "environment": cost_section.environment(run),
        "libraries": cost_section.libraries(run),
        "commit": commit,
        "dirty": dirty,
        "options": flat(run.config) if run.config else {},
        "validation": _validation(run),
    }


def _shown(view: RunView, n: int, model: Model) -> dict[str, Any]:
    """A model with its drawings and what it wrote."""
    marks = _marks(model)
    points = [(row["confidence"], row["accuracy"], int(row["items"])) for row in view.calibration(model)]
    return {
        "it": model,
        "sentence": run_verdict.sentence(model),
        "head": model.head(),
        "rows": model.table(),
        "baselines": list(dict.fromkeys(name for row in model.table() for name in row["baselines"])),
        "chart": charts.intervals(f"model-{n}", f"{model.name}: {model.metric.label}", marks) if marks else None,
        "confusion": _confusion(view.confusion(model)),
        "calibration": points,
        "reliability": charts.reliability(f"calibration-{n}", f"Calibration of {model.name}", points)
        if points
        else None,
        "samples": view.samples(model)[:SAMPLES_SHOWN],
    }


def _marks(model: Model) -> list[charts.Mark]:
    """The deciding metric of the model, by source too, the champion's and the baselines', to be drawn."""
    name, own = model.metric.name, model.values()
    found = [("this model", model.head(), "model"), ("champion before", model.champion(), "champion")]
    found += [(baseline, value, "baseline") for baseline, value in model.baselines()]
    found += [(f"on {part.partition('/')[2]}", own[part], "model") for part in own if part.startswith(f"{name}/")]
    return [charts.Mark(label, value.value, value.low, value.high, kind) for label, value, kind in found if value]


def _confusion(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Counts with the shade (0 to 9) of their share of the row, and the rows' sums; of many classes the most
    frequent."""
    if not found:
        return None
    shown = most_frequent(found["matrix"])
    labels = [found["labels"][n] for n in shown]
    rows = []
    for n, label in zip(shown, labels, strict=True):
        counts = found["matrix"][n]
        whole = sum(counts)
        cells = [(value, round(SHADES * value / whole) if whole else 0, m == n) for m in shown for value in [counts[m]]]
        rows.append({"label": label, "cells": cells, "items": whole, "right": counts[n] / whole if whole else None})
    return {"labels": labels, "rows": rows, "classes": len(found["labels"])}


def _funnel(stages: list[Stage]) -> Markup | None:
    bars = [
        charts.Bar(
            stage.name,
            stage.documents_in,
            stage.documents_out,
            f"{figures.count(stage.documents_out)} ({figures.share(stage.documents_out, stage.documents_in)})",
        )
        for stage in stages
    ]
    return charts.funnel("funnel", "Documents by stage", bars) if bars else None


def _drawn(n: int, one: training_section.Training) -> dict[str, Any]:
    figures = []
    for m, chart in enumerate(one.charts):
        floor = 0.0 if chart.title in ("Throughput", "Learning rate") else None
        title = f"{one.label}: {chart.title.lower()}"
        figures.append({"chart": chart, "svg": charts.line(f"curve-{n}-{m}", title, chart.series, "step", floor),
                        "key": charts.key([s.name for s in chart.series])})  # fmt: skip
    return {"it": one, "figures": figures}


def _validation(run: Run) -> list[dict[str, Any]]:
    """The verdicts on data and tokens: how many expectations, the warnings, what was set aside, the Data Docs."""
    found = []
    for m in run.of("validate_corpus", "check_documents", "check_tokens"):
        docs, aside = run.open(m, f"aux/{m.stats.get('data_docs')}"), set_aside([m.stats])
        found.append(
            {"step": m.step, "expectations": m.stats.get("expectations"), "warnings": m.stats.get("warnings", []),
             "aside": {shard: one["failed"] for shard, one in aside.items()}, "without": without(aside),
             "docs": docs.resolve().as_uri() if isinstance(docs, Path) else None}
        )  # fmt: skip
    return found
