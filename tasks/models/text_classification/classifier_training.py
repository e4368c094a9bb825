"""Fine-tuning a classifier of labelled documents: which library does a docstring belong to, its names hidden?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast

from tasks.core.errors import DataError
from tasks.core.number_format import plural
from tasks.core.run_warnings import told
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.finetune import export, methods, text_examples
from tasks.finetune.examples import Collate, Row, whole_texts
from tasks.finetune.same_model import write_proven
from tasks.finetune.text_examples import is_causal
from tasks.finetune.tuning import seed, set_up, tune
from tasks.formats.document_files import documents_in
from tasks.formats.documents import scanned
from tasks.formats.model_folder import refuse_foreign
from tasks.formats.tokens import IGNORE
from tasks.models.text_classification.augment import copies
from tasks.models.text_classification.classifier_options import ClassifyConf
from tasks.models.text_classification.labels import each_label, labels_of
from tasks.training.network.model import LossModule


def mask_pattern(labels: Iterable[str], conf: ClassifyConf) -> str:
    """A regular expression, case ignored, of every word to hide; it matches nothing if there are none.

    A label is hidden as it is written and with - and _ exchanged. A word ends where letters and digits end, so that
    `torch` is hidden in `__torch_function__` but not in `torchlight`.
    """
    names = [*(labels if conf.mask_labels else ()), *conf.masked_words]
    words = {form for name in names for form in (name, name.replace("-", "_"), name.replace("_", "-"))}
    if not words:
        return r"(?!)"
    longest_first = sorted((word.lower() for word in words), key=lambda word: (-len(word), word))
    return rf"(?i)(?<![^\W_])(?:{'|'.join(map(re.escape, dict.fromkeys(longest_first)))})(?![^\W_])"


def labelled(paths: Iterable[Path], most: int | None, several: bool = False) -> pl.DataFrame:
    """(id, text, label) of the labelled documents, in order of id, at most `most` of each label.

    `several`: label is a list of names, perhaps empty, and `most` is not asked.
    """
    table = labels_of(scanned(paths), several)
    if most is not None and not several:
        table = table.filter(pl.int_range(pl.len()).over("label") < most)
    return table


def classes(train_table: pl.DataFrame, least: int, model: str = "NAME") -> tuple[list[str], dict[str, int]]:
    """The labels with at least `least` documents, sorted, and how many documents each of the others has."""
    counts = dict(sorted(each_label(train_table["label"]).value_counts().iter_rows()))
    kept = [label for label, count in counts.items() if count >= least]
    if len(kept) < 2:
        raise DataError(
            f"{len(kept)} labels have {least} training documents or more ({counts}): a classifier needs two; "
            f"collect labelled documents or lower models.{model}.train.min_per_class"
        )
    return kept, {label: count for label, count in counts.items() if label not in kept}


@dataclass(frozen=True)
class Examples:
    """What a classifier is trained on, before any copies are made."""

    table: pl.DataFrame
    """(id, text, label), balanced: an example may come more than once."""
    names: list[str]
    """The labels that are told apart, sorted."""
    found: dict[str, int]
    """Documents of each of them."""
    left_out: dict[str, int]
    """Documents of each of the others."""
    pattern: str
    """What is hidden: the names of all labels, and more."""

    def hidden(self, conf: ClassifyConf) -> pl.DataFrame:
        """The table with names hidden."""
        texts = [re.sub(self.pattern, conf.mask, text) for text in self.table["text"]]
        return self.table.with_columns(pl.Series("text", texts, dtype=pl.String))


def examples(docs: Iterable[Path], conf: ClassifyConf) -> Examples:
    """The training examples in the train parts of `docs`; raises `DataError` where there are not two classes."""
    table = labelled([documents_in(doc, "train") for doc in docs], conf.max_per_class, conf.several)
    names, left_out = classes(table, conf.min_per_class, conf.run.model)
    pattern = mask_pattern(each_label(table["label"]).unique().sort(), conf)
    if not conf.several:
        table = table.filter(pl.col("label").is_in(names))
    found = _sizes(table, names)
    if not conf.several:
        table = table[balanced([names.index(label) for label in table["label"]], conf)]
    return Examples(table, names, found, left_out, pattern)


def encoder(
    tokenizer: PreTrainedTokenizerFast, pattern: str, conf: ClassifyConf, causal: bool = True
) -> Callable[[Sequence[str]], list[list[int]]]:
    """The function from texts to lists of token ids, whole: names hidden, never empty."""
    hidden, encode = re.compile(pattern), text_examples.encoder(tokenizer, causal)
    return lambda texts: encode([hidden.sub(conf.mask, text) for text in texts])


def contradictions(table: pl.DataFrame) -> int:
    """How many texts come with more than one label, or list of labels."""
    labels = table.group_by(pl.col("text").str.strip_chars()).agg(pl.col("label").n_unique())
    return int((labels["label"] > 1).sum())


class ClassLoss(LossModule):
    """A classifier whose examples count by the weights of their classes."""

    weights: Tensor

    def __init__(self, network: Any, weights: Tensor) -> None:
        super().__init__(network, z_loss=False)
        self.register_buffer("weights", weights)

    def forward(self, ids: Tensor, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """ids, mask [examples, width], labels [examples] → (sum of weighted nats, 0)."""
        width = int(mask.any(0).nonzero()[-1]) + 1
        logits = self.model(input_ids=ids[:, :width], attention_mask=mask[:, :width]).logits
        if labels.ndim > 1:  # several for each text, of each class whether it is one
            said = labels[:, 0] != IGNORE
            nats = F.binary_cross_entropy_with_logits(logits[said].float(), labels[said].float(), reduction="sum")
        else:
            nats = F.cross_entropy(logits.float(), labels, self.weights, reduction="sum", ignore_index=IGNORE)
        return nats, torch.zeros((), device=nats.device)

    def weight(self, rows: Sequence[Any]) -> float:
        """What the examples of a batch weigh."""
        labels = torch.from_numpy(rows[-1])
        if labels.ndim > 1:
            return float((labels[:, 0] != IGNORE).sum())
        return float(self.weights.cpu()[labels[labels != IGNORE]].sum())


def class_weights(counts: Sequence[int], conf: ClassifyConf) -> list[float]:
    """Of each class n / (classes * count), or 1 for all."""
    sizes = np.asarray(counts, dtype=np.float64)
    balanced: list[float] = (sizes.sum() / (len(sizes) * sizes)).tolist()
    return balanced if conf.balance == "weights" else [1.0] * len(sizes)


def build(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """The body in a folder with a fresh head, its loss, and the collation of examples."""
    conf, pad = ClassifyConf.model_validate(about["conf"]), export.pad_id(export.load_tokenizer(model))
    network = tuned_network(model, about["names"], pad, conf)
    loss = ClassLoss(network, torch.tensor(about["weights"], dtype=torch.float32))
    loss.rates = methods.rates_of(network, conf.method)
    return loss, whole_texts(pad)


def balanced(labels: Sequence[int], conf: ClassifyConf) -> list[int]:
    """Which examples are trained on, some of them more than once, so that classes have the sizes of `conf.balance`.

    `labels` are the examples' classes. Of each class every example comes equally often, but for a remainder that is
    drawn by `conf.seed`; the order of the examples stays.
    """
    classes = np.asarray(labels, np.int64)
    sizes = np.bincount(classes)
    if conf.balance not in ("undersample", "oversample"):
        return list(range(len(classes)))
    wanted = int(sizes[sizes > 0].min() if conf.balance == "undersample" else sizes.max())
    times = np.zeros(len(classes), np.int64)
    for label in np.flatnonzero(sizes):
        own = np.flatnonzero(classes == label)
        whole, rest = divmod(wanted, len(own))
        times[own] = whole
        times[np.random.default_rng([conf.seed, int(label)]).permutation(own)[:rest]] += 1
    return np.repeat(np.arange(len(classes)), times).tolist()


@dataclass(frozen=True)
class Encoded:
    """Examples as the model gets them."""

    rows: list[Row]
    valid: list[Row]
    around: text_examples.Frame
    length: int
    """The tokens that texts are cut to."""
    cut: int
    """Training texts that are longer."""
    labels: dict[str, int]
    """Training examples of each label, copies included."""


def encoded(
    model: Path, chosen: Examples, docs: Sequence[Path], conf: ClassifyConf, translated: pl.DataFrame | None
) -> Encoded:
    """The examples with their copies, and the valid parts of `docs`; raises `DataError` where these hold none."""
    tokenizer, names, table = export.load_tokenizer(model), chosen.names, chosen.table
    causal = is_causal(model)
    encode, around = encoder(tokenizer, chosen.pattern, conf, causal), text_examples.frame(tokenizer, causal)
    found = labelled([documents_in(doc, "valid") for doc in docs], None, conf.several)
    valid = _rows(found, names, encode)
    if not valid:
        raise DataError(f"the valid part holds no document labelled with one of {names}: early stopping needs some")
    if conf.augment:
        table = pl.concat([table, copies(chosen.hidden(conf), conf.augment, conf.seed, translated)])
    rows = _rows(table, names, encode)
    sizes = [len(row["input_ids"]) for row in rows]
    length = text_examples.longest(sizes, export.context_of(model), conf.max_length, conf.length_limit)
    rows, valid = (text_examples.trimmed(part, length, around) for part in (rows, valid))
    cut = sum(size > length for size in sizes)
    return Encoded(rows, valid[: conf.max_valid], around, length, cut, _sizes(table, names))


def run(
    model: Path, docs: Sequence[Path], conf: ClassifyConf, work: Workdir, translated: pl.DataFrame | None = None
) -> Stats:
    """Fine-tune a sequence classifier from the causal model or the encoder in `model` on the train parts of `docs`;
    write model/.

    `translated` are copies of examples as `augment.copies` takes them.
    """
    if conf.max_length != "auto":
        export.check_context(model, conf.max_length, conf.run.model)
    set_up(conf)
    conf = methods.rated(conf, model, conf.method, fresh_head=True)
    chosen = examples(docs, conf)
    made = encoded(model, chosen, docs, conf, translated)
    weights = class_weights([*chosen.found.values()], conf)
    about = {"conf": conf.model_dump(mode="json"), "names": chosen.names, "weights": weights}
    outcome = tune(build, model, made.rows, made.valid, conf, work, about, conf.patience)
    task = {
        "kind": "classification",
        "labels": chosen.names,
        "mask_pattern": chosen.pattern,
        "mask": conf.mask,
        **made.around,
        "max_length": made.length,
        "max_per_class": conf.max_per_class,
        **({"several": True} if conf.several else {}),
    }
    network = tuned_network(model, chosen.names, export.pad_id(export.load_tokenizer(model)), conf)
    pooling, read = getattr(network.config, "pooling", "of the encoder"), AutoModelForSequenceClassification
    proof = write_proven(network, outcome, made.valid, read, model, work / "model", task, conf.run.model)
    twice = contradictions(chosen.hidden(conf))
    return {
        "documents": sum(chosen.found.values()),
        "classes": chosen.found,
        "examples": made.labels,
        "left_out_labels": chosen.left_out,
        "contradictions": twice,
        "max_length": made.length,
        "cut": made.cut,
        "pooling": pooling,
        "steps": outcome.steps,
        "proof": proof,
        "best_step": outcome.best_step,
        "warnings": [
            *_contradicting(twice),
            *text_examples.cut_warning(made.cut, len(made.rows), made.length, conf.run.model),
        ],
        "metrics": {"valid_loss": outcome.valid_loss},
    }


def _contradicting(texts: int) -> list[dict[str, str]]:
    """That texts contradict each other, if some do."""
    if not texts:
        return []
    text = f"{plural(texts, 'training text')} with more than one label: no classifier can learn them"
    return [told(text, "correct the labels in the source, or take one of each away")]


def tuned_network(model: Path, names: Sequence[str], pad: int, conf: ClassifyConf) -> Any:
    """`make_network` as the method trains it."""
    return methods.prepare(make_network(model, names, pad, conf), conf.method, f"models.{conf.run.model}.method")


def make_network(model: Path, names: Sequence[str], pad: int, conf: ClassifyConf) -> PreTrainedModel:
    """The pretrained body with a fresh head on its states, pooled as `conf.pooling` says."""
    labels: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
        "pad_token_id": pad,
        **({"problem_type": "multi_label_classification"} if conf.several else {}),
    }
    refuse_foreign(model)
    seed(conf)
    if conf.network.kind == "start" and conf.pooling == "auto" and not is_causal(model):
        body: Any = AutoModelForSequenceClassification.from_pretrained(
            model, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False, **labels
        )
        return cast(PreTrainedModel, body)
    return text_examples.pooled(model, conf, labels)


def _sizes(table: pl.DataFrame, names: Sequence[str]) -> dict[str, int]:
    counts = dict(each_label(table["label"]).value_counts().iter_rows())
    return {name: counts.get(name, 0) for name in names}


def _rows(table: pl.DataFrame, names: Sequence[str], encode: Callable[[Sequence[str]], Any]) -> list[Row]:
    if isinstance(table.schema["label"], pl.List):
        labels: list[Any] = [[int(name in held) for name in names] for held in table["label"].to_list()]
    else:
        number = {name: i for i, name in enumerate(names)}
        table = table.filter(pl.col("label").is_in(list(names)))
        labels = [number[label] for label in table["label"]]
    encoded = encode(table["text"].to_list())
    return [{"input_ids": ids, "labels": label} for ids, label in zip(encoded, labels, strict=True)]
