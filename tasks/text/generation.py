"""Text from a causal model: loaded from its folder, and continued token by token.

This file is also the code of registered models: it imports nothing of its own project but what stands alone as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasks.formats.model_folder import refuse_foreign
from tasks.text.encode import Encoder


def context_length(model: Any) -> int:
    """How many tokens the model can look at."""
    return int(getattr(model.config, "max_position_embeddings", 1024))


def load(folder: Path) -> tuple[Any, Encoder]:
    """Model (in evaluation mode) and encoder of a transformers folder; nothing is unpickled, run or fetched."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    refuse_foreign(folder)
    quiet: Any = logging.disable_progress_bar
    quiet()
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    return model.eval(), Encoder.load(folder)


def complete(
    model: Any,
    encoder: Encoder,
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Continue the tokens of a prompt by up to `max_new_tokens` more; only the new text.

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
    kept = list(ids)[-(length - new) :]
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 50} if temperature > 0 else {"do_sample": False}
    tokens = torch.tensor([kept], device=model.device)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    streamer = Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True) if on_text is not None else None
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        made = model.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, pad_token_id=pad, streamer=streamer,
            **sampling,
        )  # fmt: skip
    return str(tokenizer.decode(made[0, len(kept) :], skip_special_tokens=True))
