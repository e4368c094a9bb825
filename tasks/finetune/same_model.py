"""Proof that what was written is the model that was trained: read back by plain transformers, it says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.core.errors import ConfigError, StepError
from tasks.finetune import export, methods
from tasks.finetune.examples import Row
from tasks.finetune.tuning import Outcome
from tasks.formats.tokens import IGNORE

EXAMPLES = 8
"""So many held-out examples are asked of both."""
PLACES = 16
"""Tokens of an example whose outputs are compared, where each has a label."""
TOLERANCE = 1e-3
"""Largest difference of an output, as a share of how far outputs spread. Merging rounds by some 1e-6 of it, weights in
16 bits by some 1e-2."""


@torch.no_grad()
def outputs(network: Any, rows: Sequence[Row]) -> Tensor:
    """Logits [places, tokens or classes] of the first held-out examples, one by one, at places with a label."""
    was, device = network.training, next(network.parameters()).device
    network.eval()
    found = []
    for row in rows[:EXAMPLES]:
        names = ("input_ids", "decoder_input_ids")
        given = {name: torch.tensor([row[name]], device=device) for name in names if name in row}
        logits = network(**given).logits[0]
        if logits.ndim > 1:
            labels = row["labels"][1:]
            logits = logits[[place for place, label in enumerate(labels) if label != IGNORE][:PLACES]]
        found.append(logits.float().cpu().reshape(-1, logits.shape[-1]))
    network.train(was)
    return torch.cat(found)


def prove(folder: Path, read: Any, rows: Sequence[Row], start: Tensor, trained: Tensor, model: str) -> dict[str, float]:
    """Read the model in a folder by `read` (a class of transformers), and compare it with what was trained.

    `start` and `trained` are `outputs` of the network before and after training; `model` is its name in the recipe.
    Returns the differences, as shares of the outputs' spread. Raises `ConfigError` where training changed nothing,
    `StepError` for another model than the trained one.
    """
    spread = float(trained.std()) or 1.0
    learnt = float((trained - start).abs().max()) / spread
    if learnt <= TOLERANCE:
        raise ConfigError(
            f"training changed nothing that can be measured (outputs by {learnt:.1e} of their spread): raise "
            f"models.{model}.train.learning_rate or models.{model}.train.epochs"
        )
    network = read.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    found = outputs(network, rows)
    far = float((found - trained).abs().max()) / spread if found.shape == trained.shape else float("inf")
    if not far <= TOLERANCE:
        near = found.shape == start.shape and float((found - start).abs().max()) / spread <= TOLERANCE
        what = "it is the model that training started from" if near else f"outputs differ by {far:.1e} of their spread"
        raise StepError(f"what was written is not the model that was trained: {what}; nothing of it is kept")
    return {"same_model": far, "learnt": learnt}


def write_proven(
    network: Any,
    outcome: Outcome,
    rows: Sequence[Row],
    read: Any,
    start: Path,
    folder: Path,
    task: Mapping[str, Any],
    model: str,
    generation: Any = None,
) -> dict[str, float]:
    """Write what a training came to into a folder, adapters merged, and prove it by `read`: see `prove`.

    `network` is built as for training, from the folder `start`, whose tokenizer goes along; `rows` are held-out
    examples; `task` is what is said of the model, `generation` how it generates, if that is not as before.
    """
    before = outputs(network, rows)
    outcome.load_into(network)
    trained = outputs(network, rows)
    merged = methods.merged(network)
    if generation is not None:
        merged.generation_config = generation
    export.save(merged, start, folder, task)
    return prove(folder, read, rows, before, trained, model)
