"""Continuations of fixed prompts with fixed seeds: the same text on every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from conf.schema.evaluate import SampleSpec


def samples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[tuple[str, Sequence[int]]],
    spec: SampleSpec,
) -> list[dict[str, Any]]:
    """For each (prompt, its token ids) the greedy continuation and one drawn with each seed.

    Rows are {"prompt", "how": "greedy" or "seed N", "text"}. A prompt is cut on the left so that it fits the context.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    rows = []
    for prompt, ids in prompts:
        kept = list(ids) if context is None else list(ids)[-max(context - spec.max_new_tokens, 1) :]
        for seed in (None, *spec.seeds):
            text = tokenizer.decode(_continue(model, tokenizer, kept, spec, seed), skip_special_tokens=True)
            rows.append({"prompt": prompt, "how": "greedy" if seed is None else f"seed {seed}", "text": text})
    return rows


def _continue(
    model: Any, tokenizer: PreTrainedTokenizerFast, ids: list[int], spec: SampleSpec, seed: int | None
) -> list[int]:
    inputs = torch.tensor([ids], device=model.device)
    drawn = {} if seed is None else {"temperature": spec.temperature, "top_k": spec.top_k}
    stops = model.generation_config.eos_token_id
    torch.manual_seed(seed or 0)
    out = model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        max_new_tokens=spec.max_new_tokens,
        do_sample=seed is not None,
        eos_token_id=tokenizer.eos_token_id if stops is None else stops,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        **drawn,
    )
    return [int(token) for token in out[0, len(ids) :]]
