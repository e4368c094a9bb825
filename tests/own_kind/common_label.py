"""A kind of models of somebody else's: the most frequent label, whatever the text. No file of the project knows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from conf.schema.base import Conf
from conf.schema.evaluate import GateConf, MeasureConf
from conf.schema.model_recipe import ModelRecipe
from tasks.core.artifact import Artifact
from tasks.core.step import Stats, step
from tasks.core.workdir import Workdir
from tasks.formats import evaluation
from tasks.formats.metrics import Metric
from tasks.models.kind import Inputs, Kind


class Counting(Conf):
    """What is counted."""

    least: int = 1
    """Documents of a label that make it one."""


class HitsGate(GateConf):
    """What it has to show."""

    metric: Literal["hits"] = "hits"
    """What is compared, on the same items."""
    min_items: int = Field(1, ge=1)
    """With fewer items no comparison is trusted."""


class CommonLabelModel(ModelRecipe):
    """The most frequent label."""

    kind: Literal["common_label"]
    """Always common_label."""
    train: Counting = Counting()
    """What is counted."""
    evaluate: MeasureConf = MeasureConf()
    """How it is measured."""
    gate: HitsGate = HitsGate()
    """What it has to show."""
    gives: ClassVar[str | None] = None


@step(part_of="finetune", version="1", track=True)
def count_labels(docs: tuple[Artifact, ...], conf: Counting, work: Workdir) -> Stats:
    """Labelled documents → model/labels.json."""
    import polars as pl

    table = pl.concat([pl.read_parquet(doc / "train/docs.parquet", columns=["label"]) for doc in docs]).drop_nulls()
    counts = dict(table["label"].value_counts(sort=True).iter_rows())
    kept = {label: count for label, count in counts.items() if count >= conf.least}
    (work / "model/labels.json").write_text(json.dumps(kept))
    return {"labels": len(kept), "metrics": {"documents": table.height}}


@step(part_of="evaluate", version="1", track=True)
def evaluate_common_label(model: Artifact, evalset: Artifact, conf: MeasureConf, work: Workdir) -> Stats:
    """Held-out documents → an evaluation."""
    import polars as pl

    best = next(iter(json.loads((model / "labels.json").read_text())))
    table = pl.read_parquet(evalset / "test.parquet", columns=["id", "label"]).drop_nulls()
    items = table.with_columns(hit=pl.col("label") == best)
    metrics = evaluation.write(work, items, {"hits": float(items["hit"].mean() or 0.0)})  # type: ignore[arg-type]
    return {"documents": items.height, "metrics": metrics}


HITS = Metric("hits", "right labels", True)


class CommonLabel(Kind):
    """The most frequent label."""

    name = "common_label"
    noun = "a count of labels"
    what = "The most frequent label of the training documents."
    limits = "It does not read the text."
    training = count_labels
    evaluation = evaluate_common_label
    measures = compared = (HITS,)
    answering = "common_label_answers"
    columns: ClassVar = {"label": "string"}

    def train(self, conf: CommonLabelModel, start: Any, data: Inputs, about: str | None = None) -> Any:
        """Count."""
        return count_labels(data.documents, conf=conf.train, about=about)

    def evaluate(self, conf: CommonLabelModel, model: Any, data: Inputs, about: str | None = None) -> Any:
        """Compare."""
        return evaluate_common_label(model, data.evalset, conf=conf.measurement, about=about)

    def metrics(self) -> Mapping[str, Any]:
        """The share of right labels."""
        import polars as pl

        from tasks.evaluate.metric import ItemMetric, mean, ratio

        return {HITS.name: ItemMetric(HITS, ("hit",), lambda items: ratio(items, "hit", pl.lit(1.0)), mean)}

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """Any text."""
        return "whatever"


OPTIONS = CommonLabelModel
KIND = CommonLabel()
