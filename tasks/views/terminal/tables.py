"""Runs, their differences and single documents as a person reads them."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.core import liveness, number_format

STYLES = {"failed": "red", "lost": "red", "refused": "yellow", "running": "bold"}
WIDE = 110
"""Columns from which on a row of `runs` has room for everything."""
LENGTH = 160
"""Characters of a value or a sample that are shown."""
SAME = 10
"""Duplicates of a document that are shown."""


def table(*columns: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """A plain table; what is too wide is folded, but in `whole` columns."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, overflow="fold", no_wrap=name in whole, justify="right" if name in right else "left")
    return made


def show_reasons(console: Console, reasons: list[dict[str, Any]]) -> None:
    """How many documents each stage dropped, and why."""
    if not reasons:
        console.print("nothing was dropped")
        return
    made = table("stage", "reason", "documents", right=("documents",), whole=("stage", "documents"))
    for row in reasons:
        made.add_row(*map(Text, (row["stage"], row["reason"], number_format.count(row["documents"]))))
    console.print(made)
    console.print("\n--reason REASON shows the documents", style="dim")


def show_rejects(console: Console, rows: list[dict[str, Any]]) -> None:
    """Dropped documents: where each came from, what was wrong with it, how it begins."""
    if not rows:
        console.print("such documents are counted, not kept: their text is there already")
    for row in rows:
        shard = f" [{row['shard']}]" if row["shard"] else ""
        console.print(Text(f"{row['uri']}{shard}", style="bold"))
        if row["detail"]:
            console.print(Text(f"  {row['detail']}"))
        if text := " ".join(row["text"].split()):
            console.print(Text(f"  {text[:LENGTH]}{'…' if len(text) > LENGTH else ''}"))


def show_takedown(console: Console, found: dict[str, Any]) -> None:
    """Where documents are, the models that know them, and how to go on."""
    for one in found["documents"]:
        console.print(Text(one["uri"], style="bold"))
        console.print(Text(f"  {one['id']}  {one['fate']}{', taken down' if one['taken_down'] else ''}"))
    made = table("step", "shard", "artifact", "", whole=("artifact",))
    for row in found["artifacts"]:
        part = f" ({', '.join(row['parts'])})" if row["parts"] else ""
        said = {"held": f"holds it{part}", "made_from": f"made from it{part}"}
        how = said.get(row["state"], f"dropped it: {row['reason']} {row['detail']}")
        made.add_row(*map(Text, (row["step"], row["shard"] or "", row["key"][:12], how)))
    console.print(made)
    for model in found["models"]:
        aliases = f" ({', '.join(model['aliases'])})" if model["aliases"] else ""
        how = "trained on it" if "train" in model["parts"] else "validated on it"
        console.print(Text(f"{model['name']}@{model['version']}{aliases} was {how}", style="bold"))
    if number := len(found["duplicates"]):
        console.print(f"\n{number_format.plural(number, 'document')} dropped for being like it, which may come back:")
        for one in found["duplicates"][:SAME]:
            console.print(Text(f"  {one['id']}  {one['reason']}  {one['uri']}"))
        console.print("--duplicates takes them down too", style="dim")
    _go_on(console, found)


def _go_on(console: Console, found: dict[str, Any]) -> None:
    if not all(one["taken_down"] for one in found["documents"]):
        console.print("\nnothing is changed: --yes takes it down, and later runs go without it")
        return
    console.print("\ntaken down: every run from now on goes without it; only what came of it is made again")
    _commands(console, found["commands"])
    if any(row["step"] == "train_tokenizer" for row in found["artifacts"]):
        console.print("the pinned tokenizer was trained on it and stays: --refresh train_tokenizer makes another one")
    console.print("the source and what is stored still hold its text: take it out of the source, and see `fromzero gc`")


def _commands(console: Console, commands: list[str]) -> None:
    for command in commands:
        console.print(Text(f"  {command}"))


def show_taken_down(console: Console, found: dict[str, Any]) -> None:
    """The documents that are taken down, or those that may come back."""
    rows = found.get("undone", found.get("documents"))
    if not rows:
        console.print("nothing is taken down")
        return
    made = table("document", "source", "uri", "taken down", whole=("document",))
    for row in rows:
        made.add_row(*map(Text, (row["id"], row["source"], row["uri"], row["at"])))
    console.print(made)
    if "undone" in found:
        console.print("\nno longer taken down: the next run takes in what its source still holds")
        _commands(console, found["commands"])


def runs_table(runs: list[Any], width: int) -> Table:
    """One row for each run; a narrow terminal gets neither names nor intervals."""
    wide, right = width >= WIDE, ("took", "made", "cached")
    names = ["run", *(["name"] if wide else []), "started", "took", "state", "made", "cached", "metric"]
    made = table(*names, right=right, whole=("run", "started", "state", *right))
    made.padding = (0, 2 if wide else 1, 0, 0)
    for run in runs:
        counts = ["" if count is None else str(count) for count in (run.made, run.cached)]
        metric = f"{run.metric['name']} {valued(run.metric, wide)}" if run.metric else ""
        head = [
            run.id,
            *([run.name or run.recipe] if wide else []),
            clock(run.started),
            number_format.seconds(run.seconds),
        ]
        state = Text(run.state, style=STYLES.get(run.state, ""))
        made.add_row(*map(Text, head), state, *map(Text, [*counts, metric]))
    return made


def clock(seconds: float | None) -> str:
    """Unix time as local date and time."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def valued(found: dict[str, Any] | None, interval: bool = True) -> str:
    """A metric's value, with its interval if that is wanted."""
    if found is None:
        return "none"
    ends = number_format.interval(found.get("low"), found.get("high")) if interval else ""
    return f"{number_format.number(found['value'])} {ends}".rstrip()


def show_diff(console: Console, found: dict[str, Any]) -> None:
    """Print a diff, part by part."""
    old, new = found["runs"]
    for sign, run in (("-", old), ("+", new)):
        console.print(
            Text(f"{sign} {liveness.short(run['run'])}  {run['name']}  {clock(run['started'])}  {run['state']}")
        )
    parts = (
        ("options", _options(found["config"])), ("data", _data(found["data"])), ("code", _code(found["code"])),
        ("metrics", _metrics(found["metrics"])),
    )  # fmt: skip
    for title, lines in parts:
        console.print(Text(f"\n{title}", style="bold"))
        if lines is None:
            console.print(Text("  the same"))
        else:
            console.print(lines)
    if older := " and ".join(liveness.short(run) for run in found["without_config"]):
        console.print(Text(f"\n{older} did not record the whole recipe: options of steps that both made are compared"))
    _samples(console, found["samples"])
    if found["gone"]:
        console.print(Text(f"\n{len(found['gone'])} artifacts are not in the store any more: not compared", "yellow"))


def _options(rows: list[dict[str, Any]]) -> Any:
    return _old_new([(row["name"], _short(row["old"]), _short(row["new"])) for row in rows])


def _old_new(rows: list[tuple[str, str, str]]) -> Table | None:
    if not rows:
        return None
    made = table("  name", "old", "new")
    for name, *sides in rows:
        made.add_row(Text(f"  {name}"), *(Text(side) for side in sides))
    return made


def _data(found: dict[str, Any]) -> Any:
    rows = [(f"shards {kind}", "", ", ".join(found[kind])) for kind in ("added", "removed", "changed") if found[kind]]
    counted = [(row["name"], _short(row["old"]), _short(row["new"])) for row in found["counts"]]
    return _old_new(rows + counted)


def _code(rows: list[dict[str, Any]]) -> Any:
    return _old_new(
        [(f"{row['module']} ({', '.join(row['steps'])})", _short(row["old"]), _short(row["new"])) for row in rows]
    )


def _metrics(rows: list[dict[str, Any]]) -> Any:
    if not rows:
        return None
    made = table("  metric", "old", "new", "difference", right=("difference",))
    step = ""
    for row in rows:
        if row["step"] != step:
            step = row["step"]
            made.add_row(Text(f"  {step}"))
        change = "" if row["difference"] is None else number_format.change(row["difference"])
        made.add_row(Text(f"    {row['name']}"), Text(valued(row["old"])), Text(valued(row["new"])), change)
    return made


def _samples(console: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    console.print(Text("\nsamples", style="bold"))
    made = table("  prompt", "old", "new")
    made.columns[0].max_width = 24
    made.columns[1].ratio = made.columns[2].ratio = 1
    made.expand = True
    for row in rows:
        made.add_row(*(Text(_shown(row[name])) for name in ("prompt", "old", "new")))
        made.add_row("")
    console.print(made, soft_wrap=False)


def _shown(text: str) -> str:
    return repr(text if len(text) <= LENGTH else text[:LENGTH] + "…")


def _short(value: Any) -> str:
    if value is None:
        return "unset"
    text = number_format.count(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text if len(text) <= LENGTH else text[:LENGTH] + "…"


def comparison_table(found: dict[str, Any]) -> Table:
    """Two versions by each metric: values, the gain with its interval, the verdict in words."""
    old, new = found["old"]["version"], found["new"]["version"]
    sides, interval = (f"version {old}", f"version {new}"), f"{found['confidence']:.0%} interval"
    made = table("metric", *sides, "gain", interval, "p", "items", "verdict")
    verdicts = {
        "new is better": f"version {new} is better",
        "old is better": f"version {old} is better",
        "too few items": "too few items to trust a difference",
    }
    for row in found["metrics"]:
        gain, low, high = (number_format.change(row[name]) for name in ("gain", "low", "high"))
        old, new, p, items = (number_format.number(row[name]) for name in ("old", "new", "p", "items"))
        verdict = verdicts.get(row["verdict"], "no difference is proven")
        made.add_row(*(Text(cell) for cell in (row["metric"], old, new, gain, f"{low} to {high}", p, items, verdict)))
    return made
