"""Fine-tuning a model that finds spans in a text: one tag for each token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast

from tasks.core.errors import ConfigError, DataError
from tasks.core.number_format import plural
from tasks.core.run_warnings import told
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.finetune import export, methods, text_examples
from tasks.finetune.examples import Collate, Row, each_token
from tasks.finetune.same_model import write_proven
from tasks.finetune.tuning import seed, set_up, tune
from tasks.formats.document_files import documents_in
from tasks.formats.documents import scanned
from tasks.formats.model_folder import refuse_foreign
from tasks.formats.tokens import IGNORE
from tasks.models.token_classification.span_options import SpanConf
from tasks.models.token_classification.spans import tagged
from tasks.models.token_classification.tagging import Span, tags_of, windows
from tasks.text.encode import Encoder
from tasks.training.network.model import LossModule

Documents = list[tuple[str, str, list[Span]]]


def documents(paths: Sequence[Path], most: int | None, part: str, model: str) -> tuple[Documents, int]:
    """(id, text, spans) of documents tables, at most `most`, and how many spans are left out as they overlap; raises
    `DataError` where there are no documents."""
    found, left_out = tagged(scanned(paths))
    if not found:
        raise DataError(
            f"the {part} part holds no document with spans: say in `columns` of a source, {{spans: COLUMN}} or {{tags: "
            f"COLUMN}}, where they are, or name other sources in models.{model}.data.sources"
        )
    return found[:most], left_out


class TagLoss(LossModule):
    """A model that says a tag of each token."""

    def __init__(self, network: Any) -> None:
        super().__init__(network, z_loss=False)

    def forward(self, ids: Tensor, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """ids, mask, labels [examples, width] → (sum of nats over labelled tokens, 0)."""
        width = int(mask.any(0).nonzero()[-1]) + 1
        logits = self.model(input_ids=ids[:, :width], attention_mask=mask[:, :width]).logits
        return self.sums(logits.flatten(0, 1), labels[:, :width].flatten())


def build(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """The body in a folder with a fresh head, its loss, and the collation of examples."""
    conf = SpanConf.model_validate(about["conf"])
    network = make_network(model, about["tags"], conf)
    loss = TagLoss(network)
    loss.rates = methods.rates_of(network, conf.method)
    return loss, each_token(export.pad_id(export.load_tokenizer(model)))


def make_network(model: Path, tags: Sequence[str], conf: SpanConf) -> Any:
    """The pretrained body with a fresh head that says one of the tags of each token, as its method trains it."""
    refuse_foreign(model)
    seed(conf)
    outputs: dict[str, Any] = {
        "id2label": dict(enumerate(tags)),
        "label2id": {tag: number for number, tag in enumerate(tags)},
        "pad_token_id": export.pad_id(export.load_tokenizer(model)),
    }
    try:
        network = AutoModelForTokenClassification.from_pretrained(
            model, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False, **outputs
        )
    except ValueError as error:
        raise ConfigError(
            f"models.{conf.run.model}.start: transformers puts no head for tags on this model: {error}"
        ) from error
    return methods.prepare(network, conf.method, f"models.{conf.run.model}.method")


def examples(
    found: Documents, tokenizer: PreTrainedTokenizerFast, tags: Sequence[str], task: dict[str, Any]
) -> list[Row]:
    """Rows of at most `task["max_length"]` tokens with the number of the tag of each, none on what stands around."""
    number, rows = {tag: n for n, tag in enumerate(tags)}, list[Row]()
    around = len(task["prefix"]), len(task.get("suffix", ()))
    encoded = Encoder(tokenizer).placed([text for _, text, _ in found])
    for (_, text, spans), (ids, places) in zip(found, encoded, strict=True):
        said = [number.get(tag, number["O"]) for tag in tags_of(spans, places, text)]
        for start, part in windows(ids, task):
            inner = len(part) - sum(around)
            labels = [*[IGNORE] * around[0], *said[start : start + inner], *[IGNORE] * around[1]]
            rows.append({"input_ids": part, "labels": labels})
    return rows


def run(model: Path, docs: Sequence[Path], conf: SpanConf, work: Workdir) -> Stats:
    """Fine-tune the causal model or the encoder in `model` on the train parts of `docs`; write model/."""
    name = conf.run.model
    if conf.max_length != "auto":
        export.check_context(model, conf.max_length, name)
    set_up(conf)
    conf = methods.rated(conf, model, conf.method, fresh_head=True)
    tokenizer = export.load_tokenizer(model)
    around = text_examples.frame(tokenizer, text_examples.is_causal(model))
    train, overlapping = documents([documents_in(doc, "train") for doc in docs], conf.max_documents, "train", name)
    held_out, _ = documents([documents_in(doc, "valid") for doc in docs], conf.max_valid, "valid", name)
    counts = Counter(label for _, _, spans in train for *_, label in spans)
    if not counts:
        raise DataError(f"none of the {len(train)} training documents has a span: there is nothing to learn")
    tags = ["O", *(f"{place}-{label}" for label in sorted(counts) for place in "BI")]
    sizes = [
        len(ids) + sum(map(len, around.values())) for ids in Encoder(tokenizer).texts([text for _, text, _ in train])
    ]
    length = text_examples.longest(sizes, export.context_of(model), conf.max_length, conf.length_limit)
    task = {"kind": "tags", **around, "max_length": length, "max_documents": conf.max_documents}
    rows, valid = (examples(found, tokenizer, tags, task) for found in (train, held_out))
    about = {"conf": conf.model_dump(mode="json"), "tags": tags}
    outcome = tune(build, model, rows, valid[: conf.max_valid], conf, work, about, conf.patience)
    network, read = make_network(model, tags, conf), AutoModelForTokenClassification
    proof = write_proven(network, outcome, valid, read, model, work / "model", task, name)
    split = sum(size > length for size in sizes)
    return {
        "documents": len(train),
        "spans": dict(sorted(counts.items())),
        "examples": len(rows),
        "split": split,
        "overlapping": overlapping,
        "max_length": length,
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "proof": proof,
        "warnings": _overlaps(overlapping),
        "metrics": {"valid_loss": outcome.valid_loss},
    }


def _overlaps(spans: int) -> list[dict[str, str]]:
    """That spans are left out, if some are."""
    if not spans:
        return []
    text = (
        f"{plural(spans, 'span')} of the training texts overlap with one before: a token has one tag, they are left out"
    )
    return [told(text, "leave inner spans out of the source, or train a model for each layer of them")]
