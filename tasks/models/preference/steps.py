"""The steps of a model that is taught by pairs of answers: how it is trained and measured."""

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
from tasks.models.preference.preference_options import PreferenceConf, PreferenceEval


@step(part_of="finetune", version="1", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_preference(model: Artifact, docs: tuple[Artifact, ...], conf: PreferenceConf, work: Workdir) -> Stats:
    """Teach the model which answers are better: chat model, conversations with a worse answer → model/."""
    from tasks.models.preference import preference_training

    return preference_training.run(model.path, [doc.path for doc in docs], conf, work)


def both_answers(paths: Sequence[Path], conf: PreferenceConf) -> tuple[list[str], int]:
    """The text of conversations that are trained on, each with either answer, and how many there are."""
    from tasks.models.preference.pairs import pairs_of

    pairs = pairs_of(paths)[: conf.max_pairs]
    sides = [side for pair in pairs[: MOST // 2] for side in (pair.chosen, pair.rejected)]
    return ["\n".join(turn["content"] for turn in talk) for talk in sides], 2 * len(pairs)


@step(part_of="evaluate", track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_preference(model: Artifact, evalset: Artifact, conf: PreferenceEval, work: Workdir) -> Stats:
    """Which answers of held-out pairs it finds likelier, and samples: → metrics.json, items.parquet, samples.json."""
    from tasks.models.preference import preference_evaluation

    return preference_evaluation.run(model.path, evalset / EVALUATION_FILE, conf, work)


@step(part_of="evaluate", resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def score_pairs_before(
    start: Artifact, model: Artifact, evalset: Artifact, conf: PreferenceEval, work: Workdir
) -> Stats:
    """The same figures of what a model was trained from, on the same tokens: → metrics.json, items.parquet."""
    from tasks.models.preference import preference_evaluation

    return preference_evaluation.run_start(start.path, model.path, evalset / EVALUATION_FILE, conf, work)
