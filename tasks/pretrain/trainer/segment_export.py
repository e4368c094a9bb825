"""What a segment leaves behind: a transformers directory, and the state that a following segment starts from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from tasks.core.errors import ArtifactError
from tasks.training.network import model
from tasks.training.trainer.trainer import Trainer


def load_weights(network: Any, folder: Path) -> None:
    """Fill a new network with the weights in `folder`/model; raises `ArtifactError` if they do not fit."""
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = {}
    for path in sorted((folder / "model").glob("*.safetensors")):
        weights |= load_file(path)
    wanted = set(dict(network.named_parameters()))
    shapes = {name: value.shape for name, value in weights.items()}
    wrong = [name for name, value in network.named_parameters() if shapes.get(name, value.shape) != value.shape]
    if wrong or not wanted <= set(weights):
        names = ", ".join(sorted(wrong or wanted - set(weights))[:3])
        raise ArtifactError(f"{folder}/model does not fit this segment's model ({names}): chain segments of one model")
    network.load_state_dict(weights, strict=False)


def load_moments(trainer: Trainer, folder: Path) -> None:
    """Take over the optimizer's moments in `folder`/state, unless there are none or another optimizer's; called on all
    processes."""
    from safetensors import safe_open
    from torch.distributed.tensor import DTensor, distribute_tensor

    moments = trainer.optimizer.moments(trainer.named)
    if not (folder / "state").exists():
        return
    with safe_open(folder / "state" / "optimizer.safetensors", framework="pt") as file:
        if not moments.keys() <= set(file.keys()):
            if trainer.place.rank == 0:
                print("the optimizer begins anew: another one trained what this segment starts from", flush=True)
            return
        for name, target in moments.items():
            saved = file.get_tensor(name)
            if isinstance(target, DTensor):
                saved = distribute_tensor(saved.to(target.device), target.device_mesh, target.placements)
            target.copy_(saved)


def write_model(trainer: Trainer, tokenizer: Path, folder: Path) -> None:
    """Write config, weights (safetensors; their average where one is kept) and the tokenizer's files; the same bytes
    for the same weights."""
    weights = {name: trainer.full(value) for name, value in (trainer.ema or trainer.named).items()}
    weights |= {name: trainer.full(value) for name, value in model.buffers(trainer.loss_module).items()}
    if trainer.place.rank:
        return
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    folder.mkdir(parents=True, exist_ok=True)
    model.stored_as(trainer.loss_module.model).save_pretrained(folder, state_dict=weights)
    for path in sorted(tokenizer.iterdir()):
        if path.is_file():
            shutil.copyfile(path, folder / path.name)


def write_state(trainer: Trainer, folder: Path, record: dict[str, Any]) -> None:
    """Write the optimizer's moments and `record`: all that a following segment needs beside the weights."""
    from safetensors.torch import save_file

    tensors = {name: trainer.full(value) for name, value in trainer.optimizer.moments(trainer.named).items()}
    if trainer.place.rank:
        return
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "optimizer.safetensors")
    (folder / "state.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def read_state(folder: Path) -> dict[str, Any]:
    """The record that `write_state` left in `folder`/state; an empty one if only weights are there."""
    if not (folder / "state").exists():
        return {}
    try:
        record: dict[str, Any] = json.loads((folder / "state" / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder}/state/state.json cannot be read: {error}") from error
    return record
