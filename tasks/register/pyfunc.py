"""The code inside a registered model: stands alone, so that a model loads wherever MLflow and transformers are.

Models from code: this file, with those of its imports from here in the imports' place, is copied into the model, and
MLflow runs it. Input is a list of texts, or a DataFrame with a
column `text` or `prompt`. A language model gives back its continuations, a classifier labels with probabilities.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from tasks.formats.model_folder import refuse_foreign
from tasks.text.encode import Encoder


def context_length(model: Any) -> int:
    """How many tokens the model can look at."""
    return int(getattr(model.config, "max_position_embeddings", 1024))


def prompted(encoder: Encoder, prompts: Sequence[str], chat: bool) -> list[list[int]]:
    """Token ids of prompts: a turn of a user if the model chats, else text behind the token that starts documents."""
    if chat:
        asked = encoder.conversations([[{"role": "user", "content": prompt}] for prompt in prompts], ask=True)
        return [one.ids for one in asked]
    start = next((n for n in (encoder.tokenizer.bos_token_id, encoder.tokenizer.eos_token_id) if n is not None), 0)
    return [[start, *ids] for ids in encoder.texts(prompts)]


def complete(
    model: Any,
    encoder: Encoder,
    prompt: str,
    *,
    chat: bool,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Continue (or answer) a prompt by up to `max_new_tokens` tokens; only the new text.

    Temperature 0 takes the likeliest token each time; otherwise equal seeds give equal text. A prompt that leaves no
    room is cut on its left. `on_text` gets the text as it is written.
    """
    import torch
    from transformers import TextStreamer

    class Streamer(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if on_text is not None:
                on_text(text)

    length, tokenizer = context_length(model), encoder.tokenizer
    new = max(1, min(max_new_tokens, length - 1))
    ids = prompted(encoder, [prompt], chat)[0][-(length - new) :]
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 50} if temperature > 0 else {"do_sample": False}
    tokens = torch.tensor([ids], device=model.device)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    streamer = Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True) if on_text is not None else None
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        made = model.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, pad_token_id=pad, streamer=streamer,
            **sampling,
        )  # fmt: skip
    return str(tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True))


def classify(model: Any, encoder: Encoder, texts: Sequence[str], task: dict[str, Any]) -> list[dict[str, float]]:
    """Probabilities of all labels for each text, masked and cut as in training (`task` is the model's task.json)."""
    import torch

    hidden, found = re.compile(task.get("mask_pattern", r"(?!)")), []
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    length = int(task.get("max_length", context_length(model)))
    for text in encoder.texts([hidden.sub(task.get("mask", ""), text) for text in texts]):
        ids = [*task.get("prefix", ()), *text] or [model.config.pad_token_id or 0]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids[:length]], device=model.device)).logits[0].float()
        found.append(dict(zip(labels, logits.softmax(-1).tolist(), strict=True)))
    return found


def load(folder: Path, kind: str) -> tuple[Any, Encoder]:
    """Model (in evaluation mode) and encoder of a transformers folder; nothing is unpickled or fetched."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils import logging

    refuse_foreign(folder)
    quiet: Any = logging.disable_progress_bar
    quiet()
    for network in folder.glob("*_classifier.py"):  # the code of a head that transformers does not have
        module = ModuleType(network.stem)  # not through import, which would take what lies in __pycache__ for it
        exec(compile(network.read_bytes(), str(network), "exec"), module.__dict__)
    auto: Any = AutoModelForSequenceClassification if kind == "classifier" else AutoModelForCausalLM
    model = auto.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    return model.eval(), Encoder.load(folder)


def refuse_changed(folder: Path, sums: dict[str, str]) -> None:
    """Raise `ValueError` unless a folder holds exactly the files (by path, with their sha256) that were registered."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if wrong := sums.keys() ^ {name for name in there if "__pycache__/" not in name}:
        raise ValueError(f"{folder / min(wrong)} was added or is missing: register the model anew")
    for name, digest in sums.items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ValueError(f"{folder / name} has other bytes than when it was registered: register it anew")


class Model(PythonModel):
    """What `mlflow.pyfunc.load_model` gives back."""

    _skip_type_hint_validation = True  # the signature says what predict takes; MLflow would warn that hints do not

    def load_context(self, context: Any) -> None:
        """Load the folder that was registered, and its task.json if it has one."""
        folder = Path(context.artifacts["model"])
        refuse_changed(folder, context.model_config["files"])
        self.kind = str(context.model_config["kind"])
        self.model, self.encoder = load(folder, self.kind)
        task = folder / "task.json"
        self.task = json.loads(task.read_text()) if task.exists() else {}

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints as schema
        """Continuations of the texts, or a DataFrame with `label` and `probabilities`."""
        texts = _texts(model_input)
        if self.kind != "classifier":
            options = {"max_new_tokens": 64, "temperature": 0.8, "seed": 0, **(params or {})}
            chat = self.kind == "chat"
            return [complete(self.model, self.encoder, text, chat=chat, **options) for text in texts]
        import pandas as pd

        found = classify(self.model, self.encoder, texts, self.task)
        return pd.DataFrame({"label": [max(p, key=lambda k: p[k]) for p in found], "probabilities": found})


def _texts(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    columns = getattr(given, "columns", None)
    if columns is None:
        return [str(text) for text in given]
    name = next((column for column in ("text", "prompt", 0) if column in columns), None)
    if name is None:
        raise ValueError(f"the input needs a column `text` or `prompt`; it has {', '.join(map(str, columns))}")
    return [str(text) for text in given[name]]


set_model(Model())
