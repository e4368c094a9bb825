"""The steps of a language model: how it is trained further, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Retry, Stats, step
from tasks.core.workdir import Workdir
from tasks.evaluate.steps import LIBRARIES
from tasks.finetune import NEEDS
from tasks.finetune.preview import MOST
from tasks.formats.document_files import EVALUATION_FILE
from tasks.models.causal_lm.lm_options import LmConf, LmEval


@step(part_of="finetune", version="1", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_lm(model: Artifact, docs: tuple[Artifact, ...], conf: LmConf, work: Workdir) -> Stats:
    """Go on with the model's pretraining: model, documents → model/ with adapters merged."""
    from tasks.models.causal_lm import lm_training

    return lm_training.run(model.path, [doc.path for doc in docs], conf, work)


def texts_to_go_on_with(paths: Sequence[Path], conf: LmConf) -> tuple[list[str], int]:
    """Of those that are trained on, and how many there are."""
    import polars as pl

    from tasks.formats.documents import scanned

    table = scanned(paths)
    count = int(table.select(pl.len()).collect().item())
    return table.select("text").head(MOST).collect()["text"].to_list(), min(count, conf.max_documents or count)


@step(part_of="evaluate", track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_lm(model: Artifact, evalset: Artifact, conf: LmEval, work: Workdir) -> Stats:
    """Bits per byte, perplexity and samples of a language model: → metrics.json, items.parquet, samples.json."""
    from tasks.models.causal_lm import bits_per_byte

    return bits_per_byte.run(model.path, evalset / EVALUATION_FILE, conf, work)


@step(part_of="evaluate", resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def score_before(start: Artifact, evalset: Artifact, conf: LmEval, work: Workdir) -> Stats:
    """The same figures of what a model was trained from: → metrics.json, items.parquet."""
    from tasks.models.causal_lm import bits_per_byte

    return bits_per_byte.run_start(start.path, evalset / EVALUATION_FILE, conf, work)
