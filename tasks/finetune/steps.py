"""Fine-tuning: chat and classification, both from the pretrained model."""

from __future__ import annotations

from conf.schema.finetune import ChatConf, ClassifyConf, TranslateConf
from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Retry, Stats, step
from tasks.core.workdir import Workdir
from tasks.models.text_classification.translators import Identity, observe_translators

__all__ = [
    "finetune_chat", "finetune_classifier", "foresee_chat", "foresee_classifier", "observe_translators",
    "translate_examples",
]  # fmt: skip

NEEDS = ("torch", "transformers", "peft", "accelerate", "safetensors", "polars", "numpy")


@step(version="2", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_chat(model: Artifact, docs: tuple[Artifact, ...], conf: ChatConf, work: Workdir) -> Stats:
    """Teach the model to answer: pretrained model, conversations → model/ with LoRA merged."""
    from tasks.models.chat import chat_training

    return chat_training.run(model.path, [doc.path for doc in docs], conf, work)


def foresee_chat(
    docs: tuple[Artifact, ...], tokenizer: Artifact, context: int | None, conf: ChatConf
) -> tuple[str, list[dict[str, str]]]:
    """What of the conversations will be split, cut or left out, about; `context`: tokens that the model looks at."""
    from tasks.models.chat import chat_preview

    paths = [doc / "train/docs.parquet" for doc in docs]
    return chat_preview.chat(paths, tokenizer / "tokenizer.json", context, conf)


@step(version="2", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
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

    return label_preview.classify(
        [doc / "train/docs.parquet" for doc in docs], tokenizer / "tokenizer.json", context, conf
    )


@step(version="1", resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def translate_examples(
    docs: tuple[Artifact, ...], models: dict[str, Identity], conf: TranslateConf, work: Workdir
) -> Stats:
    """Copies of a classifier's examples, translated there and back: labelled documents → copies.parquet.

    `models` is what `observe_translators` found. Raises `ConfigError` for a model that cannot be used, `DataError` for
    one that has changed since.
    """
    from tasks.models.text_classification import translate

    return translate.run([doc.path for doc in docs], models, conf, work)
