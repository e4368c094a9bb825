"""Runs one fine-tuning step on folders, as the engine's child would: child.py STEP CONF MODEL DOCS WORK."""

from __future__ import annotations

import sys
from pathlib import Path

from conf.schema.finetune import TuneConf
from tasks.core.artifact import Artifact, FileEntry
from tasks.core.step import Stats, Step
from tasks.core.workdir import Workdir
from tasks.models.chat.chat_options import ChatConf
from tasks.models.chat.steps import finetune_chat
from tasks.models.preference.preference_options import PreferenceConf
from tasks.models.preference.steps import finetune_preference
from tasks.models.text_classification.classifier_options import ClassifyConf
from tasks.models.text_classification.steps import finetune_classifier
from tasks.models.text_regression.number_options import RegressConf
from tasks.models.text_regression.steps import finetune_regression
from tasks.models.token_classification.span_options import SpanConf
from tasks.models.token_classification.steps import finetune_spans

STEPS: dict[str, tuple[Step, type[TuneConf]]] = {
    "chat": (finetune_chat, ChatConf),
    "classify": (finetune_classifier, ClassifyConf),
    "rate": (finetune_regression, RegressConf),
    "find": (finetune_spans, SpanConf),
    "prefer": (finetune_preference, PreferenceConf),
}


def published(folder: Path) -> Artifact:
    """A folder as the part "it" of an artifact, as a step gets it."""
    root = folder.parent / f"{folder.name}-artifact"
    (root / "content").mkdir(parents=True, exist_ok=True)
    link = root / "content" / "it"
    if not link.exists():
        link.symlink_to(folder)
    return Artifact("made", "key", "digest", root=root, files=(FileEntry("content/it/x", 0, ""),)).part("it")


def run(step: str, conf: str, model: Path, docs: Path, work: Path) -> Stats:
    """The step's stats."""
    declared, kind = STEPS[step]
    folder = Workdir(work)
    folder.make()
    return declared.function(published(model), (published(docs),), conf=kind.model_validate_json(conf), work=folder)


if __name__ == "__main__":
    name, options, *paths = sys.argv[1:]
    print(run(name, options, *(Path(path) for path in paths)))
