"""The steps of a model that finds spans: how it is trained and measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Retry, Stats, step
from tasks.core.workdir import Workdir
from tasks.evaluate.steps import LIBRARIES
from tasks.finetune import NEEDS
from tasks.finetune.preview import MOST
from tasks.formats.document_files import EVALUATION_FILE, documents_in
from tasks.models.token_classification.span_options import SpanConf, SpanEval


@step(part_of="finetune", version="1", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_spans(model: Artifact, docs: tuple[Artifact, ...], conf: SpanConf, work: Workdir) -> Stats:
    """Teach the model to find spans: pretrained model, documents with spans → model/ with a head."""
    from tasks.models.token_classification import span_training

    return span_training.run(model.path, [doc.path for doc in docs], conf, work)


def texts_with_spans(paths: Sequence[Path], conf: SpanConf) -> tuple[list[str], int]:
    """Of those that are trained on, and how many there are."""
    from tasks.formats.documents import scanned
    from tasks.models.token_classification.spans import tagged

    found, _ = tagged(scanned(paths))
    return [text for _, text, _ in found[: conf.max_documents][:MOST]], len(found[: conf.max_documents])


@step(part_of="evaluate", track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_spans(
    model: Artifact, evalset: Artifact, docs: tuple[Artifact, ...], conf: SpanEval, work: Workdir
) -> Stats:
    """F1 of spans, beside that of a dictionary of the spans in `docs`: → metrics.json, items.parquet."""
    from tasks.models.token_classification import span_evaluation

    train = [documents_in(doc, "train") for doc in docs]
    return span_evaluation.run(model.path, evalset / EVALUATION_FILE, train, conf, work)
