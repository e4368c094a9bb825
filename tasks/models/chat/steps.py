"""The steps of a chat model: how it is trained and measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Retry, Stats, step
from tasks.core.workdir import Workdir
from tasks.evaluate.steps import LIBRARIES
from tasks.finetune import NEEDS
from tasks.finetune.preview import MOST
from tasks.formats.document_files import EVALUATION_FILE, documents_in
from tasks.formats.model_folder import TOKENIZER_FILE
from tasks.models.chat.chat_options import ChatConf, ChatEval


@step(part_of="finetune", version="3", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_chat(model: Artifact, docs: tuple[Artifact, ...], conf: ChatConf, work: Workdir) -> Stats:
    """Teach the model to answer: pretrained model, conversations → model/ with LoRA merged."""
    from tasks.models.chat import chat_training

    return chat_training.run(model.path, [doc.path for doc in docs], conf, work)


def foresee_chat(
    docs: tuple[Artifact, ...], tokenizer: Artifact, context: int | None, conf: ChatConf
) -> tuple[str, list[dict[str, str]]]:
    """What of the conversations will be split, cut or left out, about; `context`: tokens that the model looks at."""
    from tasks.models.chat import chat_preview

    paths = [documents_in(doc, "train") for doc in docs]
    return chat_preview.chat(paths, tokenizer / TOKENIZER_FILE, context, conf)


def talks(paths: Sequence[Path], conf: ChatConf) -> tuple[list[str], int]:
    """The text of conversations that are trained on, and how many there are."""
    from tasks.models.chat import windows

    table = windows.conversations(paths, conf.max_conversations).table
    return ["\n".join(turn["content"] for turn in talk) for talk in table["messages"].head(MOST)], table.height


@step(part_of="evaluate", track=True, resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def evaluate_chat(model: Artifact, evalset: Artifact, conf: ChatEval, work: Workdir) -> Stats:
    """Bits per byte of the answers, and sample answers: → metrics.json, items.parquet, samples.json."""
    from tasks.models.chat import answers

    return answers.run(model.path, evalset / EVALUATION_FILE, conf, work)


@step(part_of="evaluate", resources=Cpu(2, memory_gb=2.0), libraries=LIBRARIES)
def score_start(start: Artifact, model: Artifact, evalset: Artifact, conf: ChatEval, work: Workdir) -> Stats:
    """The same figures of what a chat model was fine-tuned from, on the same tokens: → metrics.json, items.parquet."""
    from tasks.models.chat import answers

    return answers.run_start(start.path, model.path, evalset / EVALUATION_FILE, conf, work)
