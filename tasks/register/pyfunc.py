"""The code inside a registered model: stands alone, so that a model loads wherever MLflow and transformers are.

Models from code: MLflow copies this file into the model and runs it. Input is a list of texts, or a DataFrame with a
column `text` or `prompt`. A language model gives back its continuations, a classifier labels with probabilities.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


def context_length(model: Any) -> int:
    """How many tokens the model can look at."""
    return int(getattr(model.config, "max_position_embeddings", 1024))


def encode(tokenizer: Any, prompt: str, chat: bool) -> list[int]:
    """Token ids of a prompt: a turn of a user if the model chats, else text behind the token that starts documents."""
    if chat:
        turn = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [start if start is not None else 0, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]


def complete(
    model: Any,
    tokenizer: Any,
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

    length = context_length(model)
    new = max(1, min(max_new_tokens, length - 1))
    ids = encode(tokenizer, prompt, chat)[-(length - new) :]
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


def classify(model: Any, tokenizer: Any, texts: Sequence[str], task: dict[str, Any]) -> list[dict[str, float]]:
    """Probabilities of all labels for each text, masked and cut as in training (`task` is the model's task.json)."""
    import torch

    hidden, found = re.compile(task.get("mask_pattern", r"(?!)")), []
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    length = int(task.get("max_length", context_length(model)))
    for text in texts:
        ids = encode(tokenizer, hidden.sub(task.get("mask", ""), text), chat=False)[:length]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float()
        found.append(dict(zip(labels, logits.softmax(-1).tolist(), strict=True)))
    return found


def load(folder: Path, kind: str) -> tuple[Any, Any]:
    """Model (in evaluation mode) and tokenizer of a transformers folder; nothing is unpickled or fetched."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast
    from transformers.utils import logging

    quiet: Any = logging.disable_progress_bar
    quiet()
    auto: Any = AutoModelForSequenceClassification if kind == "classifier" else AutoModelForCausalLM
    model = auto.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


class Model(PythonModel):
    """What `mlflow.pyfunc.load_model` gives back."""

    _skip_type_hint_validation = True  # the signature says what predict takes; MLflow would warn that hints do not

    def load_context(self, context: Any) -> None:
        """Load the folder that was registered, and its task.json if it has one."""
        folder = Path(context.artifacts["model"])
        self.kind = str(context.model_config["kind"])
        self.model, self.tokenizer = load(folder, self.kind)
        task = folder / "task.json"
        self.task = json.loads(task.read_text()) if task.exists() else {}

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints as schema
        """Continuations of the texts, or a DataFrame with `label` and `probabilities`."""
        texts = _texts(model_input)
        if self.kind != "classifier":
            options = {"max_new_tokens": 64, "temperature": 0.8, "seed": 0, **(params or {})}
            chat = self.kind == "chat"
            return [complete(self.model, self.tokenizer, text, chat=chat, **options) for text in texts]
        import pandas as pd

        found = classify(self.model, self.tokenizer, texts, self.task)
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
