"""Spans as tags of tokens and back, and how a model that finds them is asked.

This file is also the code of registered models: it imports nothing of its own project but what stands alone as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.formats.model_folder import refuse_foreign
from tasks.text.encode import Encoder

Span = tuple[int, int, str]
"""Begin, end (not included) and label, in characters of a text."""
Places = Sequence[tuple[int, int]]
"""Of each token, of which characters it is."""


def tags_of(spans: Sequence[Span], places: Places, text: str) -> list[str]:
    """The tag of each token, in IOB2 (Tjong Kim Sang and Veenstra 1999): O, B-LABEL for the first of a span, I-LABEL
    for those that follow. White space alone begins no span; spans are in their order and do not overlap."""
    found, rest, begun = [], list(spans), False
    for begin, end in places:
        while rest and rest[0][1] <= begin:
            rest, begun = rest[1:], False
        if rest and end > rest[0][0] and (begun or text[max(begin, rest[0][0]) : min(end, rest[0][1])].strip()):
            found.append(f"{'I' if begun else 'B'}-{rest[0][2]}")
            begun = True
        else:
            found.append("O")
    return found


def spans_of(tags: Sequence[str], places: Places, text: str) -> list[Span]:
    """The spans that tags of tokens say, without white space at their ends; an I- that follows nothing of its label
    begins one."""
    found: list[list[Any]] = []
    last = ""
    for tag, (begin, end) in zip(tags, places, strict=True):
        where, _, label = tag.partition("-")
        if where == "I" and label == last:
            found[-1][1] = end
        elif where != "O":
            found.append([begin, end, label])
        last = label if where != "O" else ""
    spans = []
    for begin, end, label in found:
        said = text[begin:end]
        left, right = len(said) - len(said.lstrip()), len(said.rstrip())
        if left < right:
            spans.append((begin + left, begin + right, label))
    return spans


def windows(ids: Sequence[int], task: Mapping[str, Any]) -> Iterator[tuple[int, list[int]]]:
    """The parts of a text's ids that are looked at, one behind the other, each between what stands around a text; with
    the place at which its first token stands."""
    before, behind = list(task.get("prefix", ())), list(task.get("suffix", ()))
    room = max(int(task["max_length"]) - len(before) - len(behind), 1)
    for start in range(0, len(ids), room):
        yield start, [*before, *ids[start : start + room], *behind]


def load(folder: Path) -> tuple[Any, Encoder]:
    """Model (in evaluation mode) and encoder of a transformers folder; nothing is unpickled or fetched."""
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

    refuse_foreign(folder)
    quiet: Any = logging.disable_progress_bar
    quiet()
    auto: Any = AutoModelForTokenClassification
    model = auto.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    return model.eval(), Encoder.load(folder)


def answer(model: Any, encoder: Encoder, texts: Sequence[str], task: dict[str, Any]) -> list[dict[str, Any]]:
    """{spans: [{start, end, label, text}]} for each text; `task` is the model's task.json."""
    import torch

    found = []
    for text, (ids, places) in zip(texts, encoder.placed(texts), strict=True):
        tags: list[str] = []
        for _, part in windows(ids, task):
            with torch.inference_mode():
                said = model(input_ids=torch.tensor([part], device=model.device)).logits[0].argmax(-1).tolist()
            inner = said[len(task.get("prefix", ())) : len(said) - len(task.get("suffix", ()))]
            tags += [model.config.id2label[number] for number in inner]
        spans = spans_of(tags, places, text)
        found.append({"spans": [{"start": begin, "end": end, "label": label, "text": text[begin:end]}
                                for begin, end, label in spans]})  # fmt: skip
    return found
