"""The steps of a model that says a number: how it is trained and measured."""

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
from tasks.models.text_regression.number_options import RegressConf, RegressionEval


@step(part_of="finetune", version="1", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_regression(model: Artifact, docs: tuple[Artifact, ...], conf: RegressConf, work: Workdir) -> Stats:
    """Teach the model to say a number of a text: pretrained model, documents with numbers → model/ with a head."""
    from tasks.models.text_regression import number_training

    return number_training.run(model.path, [doc.path for doc in docs], conf, work)


def texts_with_numbers(paths: Sequence[Path], conf: RegressConf) -> tuple[list[str], int]:
    """Of those that are trained on, and how many there are."""
    from tasks.formats.documents import scanned
    from tasks.models.text_regression.numbers import numbers_of

    table = numbers_of(scanned(paths))[: conf.max_documents]
    return table["text"].head(MOST).to_list(), table.height


@step(part_of="evaluate", track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_regression(
    model: Artifact, evalset: Artifact, docs: tuple[Artifact, ...], conf: RegressionEval, work: Workdir
) -> Stats:
    """Errors, beside those of the baselines trained on `docs`: → metrics.json, items.parquet."""
    from tasks.models.text_regression import number_evaluation

    train = [documents_in(doc, "train") for doc in docs]
    return number_evaluation.run(model.path, evalset / EVALUATION_FILE, train, conf, work)
