"""The spans that a model finds in held-out documents, beside those of a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import AutoModelForTokenClassification

from tasks.core.errors import DataError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.evaluate import evaluation_inputs, scoring
from tasks.formats import evaluation
from tasks.formats.documents import scanned
from tasks.formats.model_folder import refuse_foreign
from tasks.models.token_classification.span_options import SpanEval
from tasks.models.token_classification.spans import Dictionary, compared, measure, tagged
from tasks.models.token_classification.tagging import Span, spans_of, windows
from tasks.text.encode import Encoder


def found_in(
    texts: Sequence[str], model: Any, tokenizer: Any, task: dict[str, Any], batch_tokens: int
) -> list[list[Span]]:
    """The spans that the model finds in each text, read as in training."""
    placed = list(Encoder(tokenizer).placed(texts))
    parts = [(n, start, part) for n, (ids, _) in enumerate(placed) for start, part in windows(ids, task)]
    tags = [["O"] * len(ids) for ids, _ in placed]
    before, behind = len(task.get("prefix", ())), len(task.get("suffix", ()))
    whole, pad = [(n, 0, len(part), 1) for n, (*_, part) in enumerate(parts)], model.config.pad_token_id or 0
    with torch.inference_mode():
        for batch in scoring.followed(scoring.batches(whole, batch_tokens)):
            width = batch[0][2]
            rows = [parts[n][2] for n, *_ in batch]
            ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=model.device)
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
            said = model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()
            for (place, *_), row, numbers in zip(batch, rows, said, strict=True):
                text, start, _ = parts[place]
                inner = numbers[before : len(row) - behind]
                tags[text][start : start + len(inner)] = [model.config.id2label[number] for number in inner]
    return [spans_of(said, places, text) for said, (_, places), text in zip(tags, placed, texts, strict=True)]


def run(model: Path, evalset: Path, train: Sequence[Path], conf: SpanEval, work: Workdir) -> Stats:
    """Find the spans of the held-out documents; write the evaluation."""
    device = scoring.set_up(conf.run)
    task = evaluation_inputs.read_task(model, "tags")
    held_out, _ = tagged(evaluation_inputs.held_out(evalset, conf.sources))
    if not held_out:
        raise DataError(f"the evaluation set holds no document with spans; {evaluation_inputs.FROZEN}")
    refuse_foreign(model)
    network: Any = AutoModelForTokenClassification.from_pretrained(
        model, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    network = network.to(device).eval()
    texts = [text for _, text, _ in held_out]
    said = found_in(texts, network, scoring.load_tokenizer(model), task, conf.batch_tokens)
    seen, _ = tagged(scanned(train))
    dictionary = Dictionary([(text, spans) for _, text, spans in seen[: task["max_documents"]]])
    rows = []
    for (id_, text, truth), spans in zip(held_out, said, strict=True):
        theirs = compared(truth, dictionary.find(text))
        own = {**compared(truth, spans), **{f"dictionary_{name}": theirs[name] for name in ("said", "hits")}}
        rows.append({"id": id_, "label": _written(text, truth), "predicted": _written(text, spans), **own})
    items = pl.DataFrame(rows)
    metrics = measure(items, conf) | measure(items, conf, "dictionary_")
    metrics = evaluation.write(work, items, metrics)
    work.log_metrics(metrics)
    return {"documents": len(held_out), "spans": sum(len(spans) for *_, spans in held_out), "metrics": metrics}


def _written(text: str, spans: Sequence[Span]) -> str:
    """Spans as a person reads them."""
    return "; ".join(f"{label}: {text[begin:end]}" for begin, end, label in spans)
