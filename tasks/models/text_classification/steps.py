"""The steps of a classifier: how it is trained and measured."""

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
from tasks.formats.model_folder import TOKENIZER_FILE
from tasks.models.text_classification.classifier_options import (
    ClassifierEval,
    ClassifyConf,
    TranslateConf,
)
from tasks.models.text_classification.translators import Identity


@step(part_of="finetune", version="4", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_classifier(
    model: Artifact, docs: tuple[Artifact, ...], *copies: Artifact, conf: ClassifyConf, work: Workdir
) -> Stats:
    """Teach the model to tell labels apart: pretrained model, labelled documents → model/ with a head.

    One more input may be what `translate_examples` made of the same documents.
    """
    import polars as pl

    from tasks.models.text_classification import classifier_training

    translated = pl.concat([pl.read_parquet(made.path / "copies.parquet") for made in copies]) if copies else None
    return classifier_training.run(model.path, [doc.path for doc in docs], conf, work, translated)


def foresee_classifier(
    docs: tuple[Artifact, ...], tokenizer: Artifact, context: int | None, conf: ClassifyConf
) -> tuple[str, list[dict[str, str]]]:
    """What of the labelled texts will be cut off, about; `context`: tokens that the model looks at."""
    from tasks.models.text_classification import label_preview

    paths = [documents_in(doc, "train") for doc in docs]
    return label_preview.classify(paths, tokenizer / TOKENIZER_FILE, context, conf)


def texts_with_labels(paths: Sequence[Path], conf: ClassifyConf) -> tuple[list[str], int]:
    """Of those that a classifier is trained on, and how many there are."""
    import polars as pl

    from tasks.formats.documents import scanned
    from tasks.models.text_classification.labels import labels_of

    table = labels_of(scanned(paths), conf.several)
    if conf.max_per_class is not None:
        table = table.filter(pl.int_range(pl.len()).over("label") < conf.max_per_class)
    copies = 1 + (conf.augment.copies if conf.augment else 0)
    return table["text"].head(MOST).to_list(), table.height * copies


@step(part_of="finetune", version="1", resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def translate_examples(
    docs: tuple[Artifact, ...], models: dict[str, Identity], conf: TranslateConf, work: Workdir
) -> Stats:
    """Copies of a classifier's examples, translated there and back: labelled documents → copies.parquet.

    `models` is what `observe_translators` found. Raises `ConfigError` for a model that cannot be used, `DataError` for
    one that has changed since.
    """
    from tasks.models.text_classification import translate

    return translate.run([doc.path for doc in docs], models, conf, work)


@step(part_of="evaluate", track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_classifier(
    model: Artifact, evalset: Artifact, docs: tuple[Artifact, ...], conf: ClassifierEval, work: Workdir
) -> Stats:
    """Accuracy and the rest, beside the baselines trained on `docs`: → metrics.json, items.parquet, confusion.json."""
    from tasks.models.text_classification import classifier_evaluation

    train = [documents_in(doc, "train") for doc in docs]
    return classifier_evaluation.run(model.path, evalset / EVALUATION_FILE, train, conf, work)
