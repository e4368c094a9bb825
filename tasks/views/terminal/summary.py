"""The end of a run, for people: steps, metrics, samples, models, and where to look further."""

from __future__ import annotations

import shlex
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.core import number_format, run_warnings
from tasks.corpus import funnel
from tasks.models import kind as kinds
from tasks.views.report.cost_section import prices
from tasks.views.terminal.live import summary_table

SHOWN, LENGTH = 4, 150
"""How many samples of each model are shown, and so many characters of each."""


def summarise(console: Console, record: dict[str, Any], outcomes: list[Any]) -> None:
    """Print the summary of a run that was completed, refused or stopped at --until."""
    for outcome in outcomes:
        if outcome.state == "refused":
            console.print(f"refused: {outcome.message.partition(chr(10))[0]}", markup=False)
    console.print()
    console.print(summary_table(outcomes))
    for step, metrics in record["metrics"].items():
        console.print(f"\n{step}")
        for name, value in metrics.items():
            if name.endswith(("_lo", "_hi")):
                continue
            interval = number_format.interval(metrics.get(f"{name}_lo"), metrics.get(f"{name}_hi"))
            shown = number_format.number(value) if isinstance(value, (int, float)) else value
            console.print(f"  {name:<32} {shown}  {interval}".rstrip(), markup=False)
    for step, samples in record["samples"].items():
        console.print(f"\n{step}: samples")
        for sample in samples[:SHOWN]:
            console.print(f"  {sample['prompt']!r} ({sample['how']}) → {sample['text'][:LENGTH]!r}", markup=False)
    _models(console, record)
    for outcome in outcomes:
        if outcome.state in ("refused", "waiting"):
            console.print(f"\n{outcome.message}", markup=False)
    for licence in funnel.unmatched(outcome.stats for outcome in outcomes if outcome.step == "split_shard"):
        console.print(f"\nno document has the licence {licence!r} of data.licences: is it misspelt?", markup=False)
    aside = funnel.set_aside(outcome.stats for outcome in outcomes if outcome.step == "validate_corpus")
    if aside:
        console.print(f"\n{funnel.without(aside)}", markup=False)
        for shard, found in aside.items():
            console.print(f"  {shard}: {'; '.join(found['failed'])}", markup=False)
        console.print("  fromzero rejects last --reason quarantine   shows their documents", markup=False)
    for one in run_warnings.of(outcomes):
        console.print(f"\nwarning: {one}", style="yellow", markup=False)
    if repeated := funnel.again([outcome.stats for outcome in outcomes if outcome.step == "repeat_shard"]):
        console.print(f"\n{repeated}", markup=False)
    spent = number_format.seconds(record["seconds"])
    if cost := prices(record.get("config") or {}).said(record.get("cost")):
        spent += f", at a cost of {cost}"
    console.print(f"\n{record['state']} in {spent}  run {record['run']}")
    console.print("look further:")
    for model in record["models"][:1]:
        console.print(f"  {_asking(record, model)}", markup=False)
        console.print(f"  fromzero lineage {_reference(model)}", markup=False)
    console.print(f"  {record['urls'].get('report', 'fromzero report   writes this run on one page')}", markup=False)
    console.print("  fromzero up       Prefect's and MLflow's pages, a worker, the schedules", markup=False)


def _reference(model: dict[str, Any]) -> str:
    """How a command names the model: by its alias, if it has become champion."""
    return f"{model['name']}@{'champion' if 'champion' in model['aliases'] else model['version']}"


def _asking(record: dict[str, Any], model: dict[str, Any]) -> str:
    """The command that asks a model of its kind."""
    kind = kinds.of(model["kind"])
    made = [one for one in record["config"]["models"].values() if (one["register"] or {}).get("name") == model["name"]]
    verb = "generate" if kind.writes else "predict"
    return f"fromzero {verb} {_reference(model)} {shlex.quote(kind.prompt(made[0]) if made else 'The')}"


def _models(console: Console, record: dict[str, Any]) -> None:
    if not record["models"]:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("model", "version", "aliases", "kind"):
        table.add_column(column)
    for model in record["models"]:
        primary = " (primary)" if model["primary"] else ""
        table.add_row(model["name"], str(model["version"]), ", ".join(model["aliases"]), f"{model['kind']}{primary}")
    console.print()
    console.print(table)
