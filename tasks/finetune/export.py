"""What a fine-tuned model's folder holds: nothing that varies with the place or time it was made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tasks.core.errors import ConfigError
from tasks.finetune.open_models import TOKENIZER_FILES
from tasks.formats.model_folder import CONFIG_FILE, positions_in, refuse_foreign, write_task


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in a model's folder, from its files alone."""
    refuse_foreign(folder)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return tokenizer


def load_whole(read: Any, model: Path, name: str, **how: Any) -> Any:
    """The network in a folder by a class of transformers; `name` is that of the model of the recipe.

    Raises `ConfigError` if weights are missing, which transformers would draw at random.
    """
    refuse_foreign(model)
    network, about = read.from_pretrained(
        model, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **how
    )
    if lacking := sorted(about["missing_keys"]):
        raise ConfigError(
            f"the weights that models.{name} starts from lack {lacking[0]} (of {len(lacking)}): name a whole model, "
            "written by save_pretrained"
        )
    return network


def context_of(model: Path) -> int | None:
    """How many tokens the model in a folder can look at; None if nothing limits it."""
    return positions_in(json.loads((model / CONFIG_FILE).read_text()))


def check_context(model: Path, max_length: int, name: str = "NAME") -> None:
    """Raise `ConfigError` if examples of `max_length` tokens do not fit the context of the model in a folder; `name`
    is that of the model of the recipe."""
    context = context_of(model)
    if context is not None and max_length > context:
        raise ConfigError(
            f"examples of {max_length} tokens are longer than the model's context, {context}: lower "
            f"models.{name}.train.max_length"
        )


def pad_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id that fills up batches: the tokenizer's pad token, or its end of text."""
    chosen = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return int(chosen or 0)


def save(model: PreTrainedModel, tokenizer_from: Path, folder: Path, task: Mapping[str, Any]) -> None:
    """Write weights and config, the tokenizer's files as they were, and task.json, which evaluation reads."""
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (tokenizer_from / name).exists():
            shutil.copyfile(tokenizer_from / name, folder / name)
    write_task(folder, task)
