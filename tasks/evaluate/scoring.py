"""How surprised a causal model is by each token of a text, in nats."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from conf.schema.evaluate import EvaluateRun, WindowConf
from tasks.core.errors import ConfigError
from tasks.core.events import Event, tell
from tasks.core.number_format import ahead
from tasks.formats.model_folder import refuse_foreign

SAY_EVERY = 3.0
"""Seconds between two lines of progress."""
Span = tuple[int, int, int, int]
"""(text, begin, end, first): the window is tokens begin…end of a text, of which first…end are scored."""


def set_up(run: EvaluateRun) -> torch.device:
    """Fix threads and kernels; returns the device. Raises `ConfigError` if the GPU that is asked for is not there."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    on_gpu = run.device != "cpu" and torch.cuda.is_available()
    if run.device == "cuda" and not on_gpu:
        raise ConfigError(
            "an evaluation is to run on cuda, and this machine shows no GPU: set "
            f"models.{run.model}.evaluate.run.device=cpu"
        )
    torch.set_num_threads(run.threads)
    torch.use_deterministic_algorithms(not on_gpu)
    return torch.device("cuda" if on_gpu else "cpu")


def load_tokenizer(folder: Path, own: str = "") -> PreTrainedTokenizerFast:
    """The tokenizer in a model's folder, from its files alone; `own` as `refuse_foreign` has it."""
    refuse_foreign(folder, own)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return tokenizer


def load_causal(folder: Path, device: torch.device) -> PreTrainedModel:
    """The causal language model in a folder, in float32, ready to score."""
    refuse_foreign(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded


def spans(lengths: Sequence[int], window: int, stride: int) -> list[Span]:
    """Windows in which every token of every text but its first is scored exactly once."""
    found: list[Span] = []
    for text, length in enumerate(lengths):
        first, end = 1, min(window, length)
        while first < length:
            found.append((text, max(0, end - window), end, first))
            first, end = end, min(end + stride, length)
    return found


def batches(windows: Sequence[Span], batch_tokens: int) -> list[list[Span]]:
    """Windows of like length together, longest first, each batch within `batch_tokens` (or one window)."""
    grouped: list[list[Span]] = []
    for span in sorted(windows, key=lambda span: (span[1] - span[2], span)):
        width = grouped[-1][0][2] - grouped[-1][0][1] if grouped else 0
        if grouped and width * (len(grouped[-1]) + 1) <= batch_tokens:
            grouped[-1].append(span)
        else:
            grouped.append([span])
    return grouped


def followed(grouped: Sequence[list[Span]]) -> Iterator[list[Span]]:
    """The batches one by one, with a line now and then that says how many are scored, how fast, and what is left."""
    started = said = time.monotonic()
    tokens = 0
    for number, batch in enumerate(grouped, 1):
        yield batch
        tokens += sum(end - begin for _, begin, end, _ in batch)
        now = time.monotonic()
        if now - said >= SAY_EVERY or number == len(grouped):
            said, spent = now, max(now - started, 1e-9)
            left, speed = spent / number * (len(grouped) - number), f"{tokens / spent:,.0f} tokens/s"
            print(f"step {number}/{len(grouped)}  {speed}  left {ahead(left)}", flush=True)
            tell(Event("progress", number, len(grouped), "step", number / spent, left, speed))


def token_nats(model: PreTrainedModel, texts: Sequence[Sequence[int]], conf: WindowConf) -> list[NDArray[np.float64]]:
    """For each text of n token ids the n - 1 losses, in nats, of its tokens after the first.

    Padding stands on the right and needs no mask: no token looks to its right. Raises `ConfigError` if the window is
    larger than the model's context.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and conf.window > context:
        raise ConfigError(
            f"a window of {conf.window} tokens is larger than the model's context, {context}: set "
            f"models.{conf.run.model}.evaluate.window={context} or less"
        )
    nats = [np.zeros(max(len(text) - 1, 0)) for text in texts]
    windows = spans([len(text) for text in texts], conf.window, conf.stride)
    with torch.inference_mode():
        for batch in followed(batches(windows, conf.batch_tokens)):
            losses = _losses(model, [texts[text][begin:end] for text, begin, end, _ in batch])
            for (text, begin, end, first), row in zip(batch, losses, strict=True):
                nats[text][first - 1 : end - 1] = row[first - 1 - begin : end - 1 - begin]
    return nats


def _losses(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    out: NDArray[np.float32] = losses.view(len(rows), width - 1).cpu().numpy()
    return out
