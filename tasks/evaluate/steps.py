"""Evaluation on the frozen held-out documents, and the gate that compares two evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conf.schema.evaluate import ChatEval, ClassifierEval, GateConf, LmEval
from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Stats, step
from tasks.core.workdir import Workdir

if TYPE_CHECKING:
    from tasks.core.store.store import Store

LIBRARIES = ("torch", "transformers", "polars", "numpy", "scikit-learn")


@step(track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_lm(model: Artifact, evalset: Artifact, conf: LmEval, work: Workdir) -> Stats:
    """Bits per byte, perplexity and samples of a language model: → metrics.json, items.parquet, samples.json."""
    from tasks.models.causal_lm import bits_per_byte

    return bits_per_byte.run(model.path, evalset / "test.parquet", conf, work)


@step(track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_chat(model: Artifact, evalset: Artifact, conf: ChatEval, work: Workdir) -> Stats:
    """Bits per byte of the answers, and sample answers: → metrics.json, items.parquet, samples.json."""
    from tasks.models.chat import answers

    return answers.run(model.path, evalset / "test.parquet", conf, work)


@step(resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def score_start(start: Artifact, model: Artifact, evalset: Artifact, conf: ChatEval, work: Workdir) -> Stats:
    """The same figures of what a chat model was fine-tuned from, on the same tokens: → metrics.json, items.parquet."""
    from tasks.models.chat import answers

    return answers.run_start(start.path, model.path, evalset / "test.parquet", conf, work)


@step(track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_classifier(
    model: Artifact, evalset: Artifact, docs: tuple[Artifact, ...], conf: ClassifierEval, work: Workdir
) -> Stats:
    """Accuracy and the rest, beside the baselines trained on `docs`: → metrics.json, items.parquet, confusion.json."""
    from tasks.models.text_classification import classifier_evaluation

    train = [doc / "train" / "docs.parquet" for doc in docs]
    return classifier_evaluation.run(model.path, evalset / "test.parquet", train, conf, work)


@step(libraries=("polars", "numpy"))
def gate(candidate: Artifact, incumbent: Artifact | None, *baselines: Artifact, conf: GateConf, work: Workdir) -> Stats:
    """May the candidate take the incumbent's place? Evaluations → decision.json; a refusal is a result."""
    from tasks.evaluate import decision

    return decision.run(candidate, incumbent, baselines, conf, work)


def compare_versions(
    store: Store, old: dict[str, Any], new: dict[str, Any], resamples: int, confidence: float
) -> Stats:
    """Two measured versions of a model (see `tasks.register.steps.measured`) on the same items; decides nothing."""
    from tasks.evaluate import versions

    return versions.compare(store, old, new, resamples, confidence)
