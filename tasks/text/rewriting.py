"""How a model that reads one text and writes another is asked.

This file is also the code of registered models: it imports nothing of its own project but what stands alone as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.formats.model_folder import refuse_foreign
from tasks.text.encode import Encoder


def load(folder: Path) -> tuple[Any, Encoder]:
    """Model (in evaluation mode) and encoder of a transformers folder; nothing is unpickled or fetched."""
    from transformers import AutoModelForSeq2SeqLM
    from transformers.utils import logging

    refuse_foreign(folder)
    quiet: Any = logging.disable_progress_bar
    quiet()
    auto: Any = AutoModelForSeq2SeqLM
    model = auto.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    return model.eval(), Encoder.load(folder)


def ended(encoder: Encoder, texts: Sequence[str], most: int) -> list[list[int]]:
    """The ids of each text as its tokenizer frames one, at most so many, the last of which ends it."""
    end, found = encoder.tokenizer.eos_token_id, []
    for ids in encoder.framed(texts, most):
        if end is not None and ids[-1:] != [end]:
            ids = [*ids[: most - 1], int(end)]
        found.append(ids)
    return found


def written(
    model: Any, encoder: Encoder, rows: Sequence[Sequence[int]], *, max_new_tokens: int, beams: int = 1, **how: Any
) -> list[str]:
    """What the model makes of token ids, together; of equal length where several, or filled up on the right."""
    import torch

    tokenizer, width = encoder.tokenizer, max(len(row) for row in rows)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    with torch.inference_mode():
        made = model.generate(
            ids, attention_mask=mask, max_new_tokens=max_new_tokens, num_beams=beams,
            **{"do_sample": False, "pad_token_id": pad, **how},
        )  # fmt: skip
    return [str(text).strip() for text in tokenizer.batch_decode(made, skip_special_tokens=True)]


def answer(
    model: Any,
    encoder: Encoder,
    texts: Sequence[str],
    task: Mapping[str, Any],
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    on_text: Callable[[str], None] | None = None,
) -> list[str]:
    """What it makes of each text; `task` is the model's task.json. Temperature 0 takes the likeliest token each time,
    otherwise equal seeds give equal text. `on_text` gets the text once it is written."""
    import torch

    found = []
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 50} if temperature > 0 else {}
    for text in texts:
        (ids,) = ended(encoder, [task.get("prefix_text", "") + text], int(task.get("max_length", 512)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            beams = 1 if sampling else int(task.get("beams", 1))
            found += written(model, encoder, [ids], max_new_tokens=max_new_tokens, beams=beams, **sampling)
        if on_text is not None:
            on_text(found[-1])
    return found
