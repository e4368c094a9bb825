"""The steps of a summarization model: how it is trained and measured."""

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
from tasks.models.sequence.sequence_options import SequenceConf, SequenceEval


@step(part_of="finetune", version="1", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_summarization(model: Artifact, docs: tuple[Artifact, ...], conf: SequenceConf, work: Workdir) -> Stats:
    """Teach the model: sequence-to-sequence model, texts with another one beside → model/."""
    from tasks.models.sequence import sequence_training

    return sequence_training.run(model.path, [doc.path for doc in docs], conf, work, "summarization")


def texts_for_summarization(paths: Sequence[Path], conf: SequenceConf) -> tuple[list[str], int]:
    """Of those that are trained on, both sides together, and how many there are."""
    from tasks.formats.documents import scanned
    from tasks.models.sequence.text_pairs import pairs_of

    table = pairs_of(scanned(paths))[: conf.max_documents]
    return [f"{text} {target}" for text, target in table.select("text", "target").head(MOST).rows()], table.height


@step(part_of="evaluate", track=True, resources=Cpu(2, memory_gb=2.0), libraries=(*LIBRARIES, "sacrebleu"))
def evaluate_summarization(model: Artifact, evalset: Artifact, conf: SequenceEval, work: Workdir) -> Stats:
    """chrF, BLEU and ROUGE-L of what it writes, beside the first three sentences: → an evaluation."""
    from tasks.models.sequence import sequence_evaluation
    from tasks.models.summarization.lead import lead

    return sequence_evaluation.run(model.path, evalset / EVALUATION_FILE, conf, work, "summarization", "lead", lead)
