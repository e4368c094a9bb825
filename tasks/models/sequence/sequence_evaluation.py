"""What a model writes of held-out texts, beside what a baseline does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tasks.core.errors import DataError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.evaluate import evaluation_inputs, scoring
from tasks.formats import evaluation
from tasks.models.sequence.overlap import counted, measure
from tasks.models.sequence.sequence_options import SequenceEval
from tasks.models.sequence.text_pairs import pairs_of
from tasks.text import rewriting
from tasks.text.encode import Encoder

SHOWN = 5
"""Texts that a reader of the evaluation sees."""


def run(
    model: Path, evalset: Path, conf: SequenceEval, work: Workdir, kind: str, name: str, baseline: Callable[[str], str]
) -> Stats:
    """Write of the held-out texts; write the evaluation, beside a baseline of a name."""
    device = scoring.set_up(conf.run)
    task = evaluation_inputs.read_task(model, kind)
    table = pairs_of(evaluation_inputs.held_out(evalset, conf.sources))[: conf.max_documents]
    if table.is_empty():
        raise DataError(f"the evaluation set holds no document with another text; {evaluation_inputs.FROZEN}")
    network, encoder = rewriting.load(model)
    said = written(network.float().to(device), encoder, table["text"].to_list(), task, conf.batch_tokens)
    wanted, guessed = table["target"].to_list(), [baseline(text) for text in table["text"]]
    items = table.select("id", "target").with_columns(
        pl.Series("predicted", said), *counted(wanted, said, conf.tokenize),
        *counted(wanted, guessed, conf.tokenize, f"{name}_"),
    )  # fmt: skip
    metrics = measure(items, conf) | measure(items, conf, f"{name}_")
    shown = [{"prompt": text, "how": "greedy", "text": one} for text, one in zip(table["text"], said, strict=True)]
    metrics = evaluation.write(work, items, metrics, samples=shown[:SHOWN])
    work.log_metrics(metrics)
    return {"documents": table.height, "metrics": metrics}


def written(network: Any, encoder: Encoder, texts: Sequence[str], task: dict[str, Any], batch_tokens: int) -> list[str]:
    """What the model makes of each text, read as in training; texts of one length together."""
    ids = rewriting.ended(encoder, [task["prefix_text"] + text for text in texts], task["max_length"])
    found = [""] * len(texts)
    whole, most = [(n, 0, len(row), 1) for n, row in enumerate(ids)], task["target_length"]
    for batch in scoring.followed(scoring.batches(whole, batch_tokens)):
        rows = [ids[n] for n, *_ in batch]
        made = rewriting.written(network, encoder, rows, max_new_tokens=most, beams=task["beams"])
        for (n, *_), text in zip(batch, made, strict=True):
            found[n] = text
    return found
