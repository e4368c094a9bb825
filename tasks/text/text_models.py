"""Models that say one thing of a whole text: how they are loaded, and what they get of a text.

This file is also the code of registered models: it imports nothing of its own project but what stands alone as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.formats.model_folder import refuse_foreign
from tasks.text.encode import Encoder

OWN_HEAD = "pooled_classifier"
"""The model_type of the one network of ours that transformers does not have; its code is part of this project."""


def load(folder: Path) -> tuple[Any, Encoder]:
    """Model (in evaluation mode) and encoder of a transformers folder; nothing is unpickled or fetched."""
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    refuse_foreign(folder, OWN_HEAD)
    quiet: Any = logging.disable_progress_bar
    quiet()
    for network in folder.glob(f"{OWN_HEAD}.py"):  # the code of a head that transformers does not have
        module = ModuleType(network.stem)  # not through import, which would take what lies in __pycache__ for it
        exec(compile(network.read_bytes(), str(network), "exec"), module.__dict__)
    auto: Any = AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    return model.eval(), Encoder.load(folder)


def framed(ids: Sequence[int], task: Mapping[str, Any], pad: int) -> list[int]:
    """A text's ids between what stands before and behind every text; the padding's where all of that is nothing."""
    return [*task.get("prefix", ()), *ids, *task.get("suffix", ())] or [pad]


def cut(ids: list[int], length: int, end: Sequence[int]) -> list[int]:
    """The first of a text's ids, and the `end` of all texts behind them, if there are more than `length`."""
    return ids if len(ids) <= length else [*ids[: max(length - len(end), 0)], *end][:length]


def logits(model: Any, encoder: Encoder, texts: Sequence[str], task: Mapping[str, Any]) -> Iterator[Any]:
    """What the network says of each text, a tensor [outputs]; `task` is the model's task.json."""
    import torch

    length = int(task.get("max_length", getattr(model.config, "max_position_embeddings", 1024)))
    for text in encoder.texts(texts):
        ids = cut(framed(text, task, model.config.pad_token_id or 0), length, task.get("suffix", ()))
        with torch.inference_mode():
            yield model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float()
