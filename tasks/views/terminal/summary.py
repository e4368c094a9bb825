"""The end of a run, for people: steps, models with their metrics and samples, and where to look further."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.core import number_format
from tasks.corpus import funnel
from tasks.models import kind as kinds
from tasks.views import run_verdict
from tasks.views.model_view import Model
from tasks.views.report.cost_section import prices
from tasks.views.run_view import RunView
from tasks.views.terminal.live import summary_table

SHOWN, LENGTH = 4, 150
"""How many samples of each model are shown, and so many characters of each."""


def summarise(console: Console, view: RunView) -> None:
    """Print the summary of a run that was completed, refused or stopped at --until."""
    record = view.run.record
    for refusal in view.refusals:
        console.print(f"refused: {refusal}", markup=False)
    console.print()
    console.print(summary_table(view.run.steps))
    for label, measured in view.other_measurements:
        said = ", ".join(f"{metric.label} {value}" for metric, value in measured)
        console.print(f"\n{label}: {said}", markup=False, highlight=False)
    for model in view.models:
        _model(console, view, model)
    _registered(console, record["models"])
    for step in view.run.steps:
        if step.state in ("refused", "waiting"):
            console.print(f"\n{step.message}", markup=False)
    for line in _of_documents(view):
        console.print(line, markup=False)
    for one in view.warnings:
        console.print(f"\nwarning: {one}", style="yellow", markup=False)
    spent = number_format.seconds(record["seconds"])
    if cost := prices(record.get("config") or {}).said(record.get("cost")):
        spent += f", at a cost of {cost}"
    console.print(f"\n{record['state']} in {spent}  run {record['run']}")
    console.print("look further:")
    for about in record["models"][:1]:
        console.print(f"  {_asking(record, about)}", markup=False)
        console.print(f"  fromzero lineage {_reference(about)}", markup=False)
    console.print(f"  {record['urls'].get('report', 'fromzero report   writes this run on one page')}", markup=False)
    console.print("  fromzero up       Prefect's and MLflow's pages, a worker, the schedules", markup=False)


def _model(console: Console, view: RunView, model: Model) -> None:
    """What became of a model, its metrics beside what it had to beat, and what it wrote."""
    console.print(f"\n{run_verdict.sentence(model)}", markup=False, highlight=False)
    rows = model.table()
    baselines = list(dict.fromkeys(name for row in rows for name in row["baselines"]))
    if rows:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        before = ["champion before"] if model.before else []
        for column in ("  metric", "this model", *before, *baselines):
            table.add_column(column)
        for row in rows:
            others = [*([row["champion"]] if before else []), *(row["baselines"].get(name) for name in baselines)]
            table.add_row(f"  {row['metric'].title}", *(str(value or "") for value in (row["ours"], *others)))
        console.print(table, markup=False, highlight=False)
    for sample in view.samples(model)[:SHOWN]:
        console.print(f"  {sample['prompt']!r} ({sample['how']}) → {sample['text'][:LENGTH]!r}", markup=False)


def _of_documents(view: RunView) -> Iterator[str]:
    """What became of the documents, as far as it is to be told, and what to do about it."""
    if view.way:
        yield f"\n{view.way}"
    for licence in view.unmatched:
        yield f"\nno document has the licence {licence!r} of data.licences: is it misspelt?"
    if aside := view.aside:
        yield f"\n{funnel.without(aside)}"
        yield from (f"  {shard}: {'; '.join(found['failed'])}" for shard, found in aside.items())
        yield "  fromzero rejects last --reason quarantine   shows their documents"
    if view.repeated:
        yield f"\n{view.repeated}"


def _reference(model: Mapping[str, Any]) -> str:
    """How a command names the model: by its alias, if it has become champion."""
    return f"{model['name']}@{'champion' if 'champion' in model['aliases'] else model['version']}"


def _asking(record: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """The command that asks a model of its kind."""
    kind = kinds.of(model["kind"])
    made = [one for one in record["config"]["models"].values() if (one["register"] or {}).get("name") == model["name"]]
    verb = "generate" if kind.writes else "predict"
    return f"fromzero {verb} {_reference(model)} {shlex.quote(kind.prompt(made[0]) if made else 'The')}"


def _registered(console: Console, models: list[dict[str, Any]]) -> None:
    if not models:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("model", "version", "aliases", "kind"):
        table.add_column(column)
    for model in models:
        primary = " (primary)" if model["primary"] else ""
        table.add_row(model["name"], str(model["version"]), ", ".join(model["aliases"]), f"{model['kind']}{primary}")
    console.print()
    console.print(table)
