"""The step of a language model: how it is measured."""

from __future__ import annotations

from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Stats, step
from tasks.core.workdir import Workdir
from tasks.evaluate.steps import LIBRARIES
from tasks.formats.document_files import EVALUATION_FILE
from tasks.models.causal_lm.lm_options import LmEval


@step(part_of="evaluate", track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_lm(model: Artifact, evalset: Artifact, conf: LmEval, work: Workdir) -> Stats:
    """Bits per byte, perplexity and samples of a language model: → metrics.json, items.parquet, samples.json."""
    from tasks.models.causal_lm import bits_per_byte

    return bits_per_byte.run(model.path, evalset / EVALUATION_FILE, conf, work)
