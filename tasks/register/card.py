"""The model card: what a person should know before using a model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from conf.schema.release import RegisterConf
from tasks.core.artifact import Artifact
from tasks.formats.metrics import values
from tasks.models import kind as kinds
from tasks.register.context import RunContext
from tasks.register.origins import row

TRAINING = ("parameters", "tokens", "steps", "epochs", "seconds", "documents", "best_step", "flops")
MOST = 5000
"""Characters that MLflow keeps of a version's description."""


def write_card(
    conf: RegisterConf,
    model: Artifact,
    evaluation: Artifact,
    sources: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, Any]],
    run: RunContext,
    origins: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The card as Markdown; only what is known is in it. `origins` are the open models that it was made from."""
    kind = kinds.of(conf.kind)
    born = "It was trained from nothing." if not origins else "It was made from a model of others, named below."
    sections = [
        ("", f"# {conf.name}\n\n{kind.what} {born}"),
        ("How to load", _loading(conf, kind.writes)),
        ("Made from", _table([row(origin) for origin in origins])),
        ("Metrics", _metrics(evaluation.stats.get("metrics", {}))),
        ("Data", _table(sources)),
        ("Training", _training(model.stats)),
        ("Samples", _samples(samples[: conf.card.samples])),
        ("Limits", f"{kind.limits} Not for decisions about people."),
        ("Lineage", _lineage(model, evaluation, run)),
    ]
    return "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections if text) + "\n"


def description(card: str) -> str:
    """The card as a version's description: cut where MLflow would refuse it."""
    end = "\n\n(cut; the whole card is README.md in the model)"
    return card if len(card) <= MOST else card[: MOST - len(end)] + end


def _loading(conf: RegisterConf, writes: bool) -> str:
    alone = """

from transformers import AutoModelForCausalLM, AutoTokenizer
folder = mlflow.artifacts.download_artifacts("models:/NAME@champion") + "/artifacts/model"
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)"""
    shown = alone.replace("NAME", conf.name) if writes else ""  # else its head may be of ours: MLflow has its code
    return f"""```python
import mlflow
model = mlflow.pyfunc.load_model("models:/{conf.name}@champion")
model.predict(["some text"]){shown}
```"""


def _metrics(metrics: Mapping[str, Any]) -> str:
    rows = []
    for name, found in values(metrics).items():
        known = found.low is not None and found.high is not None
        interval = f"{_show(found.low)} to {_show(found.high)}" if known else ""
        rows.append({"metric": kinds.metric(name).title, "value": found.value, "95 % interval": interval})
    return _table(rows)


def _training(stats: Mapping[str, Any]) -> str:
    known = {name: stats[name] for name in TRAINING if name in stats} | dict(stats.get("metrics", {}))
    return _table([{"": name.replace("_", " "), "value": value} for name, value in known.items()])


def _samples(samples: Iterable[Mapping[str, Any]]) -> str:
    pairs = ((str(sample.get("prompt", "")), str(sample.get("text", sample.get("answer", "")))) for sample in samples)
    return "\n\n".join(f"> **{_quote(prompt)}** {_quote(text)}" for prompt, text in pairs)


def _lineage(model: Artifact, evaluation: Artifact, run: RunContext) -> str:
    dirty = " (with uncommitted changes)" if run.git.get("dirty") else ""
    rows = {
        "weights": model.digest,
        "made by": f"{model.step}/{model.key}",
        "evaluation": f"{evaluation.step}/{evaluation.key}",
        "commit": f"{run.git['commit']}{dirty}" if run.git.get("commit") else None,
    }
    runs = {"Prefect run": (run.flow_run, "prefect"), "MLflow run": (run.mlflow_run, "mlflow")}
    lines = [f"- {name}: `{value}`" for name, value in rows.items() if value]
    return "\n".join(lines + [f"- {name}: {_page(run, *known)}" for name, known in runs.items() if known[0]])


def _page(run: RunContext, identity: str | None, where: str) -> str:
    return f"[{identity}]({run.pages[where]})" if where in run.pages else f"`{identity}`"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns), *([_show(row.get(column, "")) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")


def _quote(text: str) -> str:
    return " ".join(text.split())
