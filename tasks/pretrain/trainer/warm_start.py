"""What a segment goes on from: the one before, or another model of the same network and the same tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.core.errors import ArtifactError, ConfigError
from tasks.formats.model_folder import CONFIG_FILE, TOKENIZER_FILE, refuse_foreign
from tasks.training.network import model

ASIDE = frozenset(
    {"transformers_version", "dtype", "torch_dtype", "_name_or_path", "architectures", "use_cache", "initializer_range"}
)
"""Options of a network's config that change nothing of what it computes."""
FREE = ("drop", "positions", "position_embeddings")
"""Parts of the names of those that may change from one segment to the next, as far as the weights fit."""


def refuse_other_tokenizer(start: Path, tokenizer: Path, segment: str) -> None:
    """Raise `ConfigError` unless the model in `start` was trained with the ids of this tokenizer."""
    if _ids(start / "model") != _ids(tokenizer):
        raise ConfigError(
            f"pretrain.segments.{segment}.start: that model was trained with another tokenizer, so the ids of these "
            "tokens mean other words to it: start from it in the recipe that made it, whose name (and tokenizer.*) the "
            "tokenizer is remembered by, with new sources added"
        )


def _ids(folder: Path) -> tuple[Any, Any]:
    path = folder / TOKENIZER_FILE
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    return raw.get("model"), raw.get("added_tokens")


def refuse_other_network(network: Any, start: Path, segment: str) -> None:
    """Raise `ConfigError` unless `network` computes what the model in `start` does, given the same weights."""
    from transformers import AutoConfig

    refuse_foreign(start / "model")
    try:
        before = AutoConfig.from_pretrained(start / "model", local_files_only=True, trust_remote_code=False).to_dict()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{start}/model/{CONFIG_FILE} cannot be read: {error}") from error
    now = model.stored_as(network).config.to_dict()
    names = (before.keys() | now.keys()) - ASIDE
    other = [
        f"{name} {before.get(name)!r} and here {now.get(name)!r}"
        for name in sorted(names)
        if before.get(name) != now.get(name) and not any(part in name for part in FREE)
    ]
    if other:
        raise ConfigError(
            f"pretrain.segments.{segment}.start: that model is another network than the recipe's "
            f"({', '.join(other[:4])}): give model the same options"
        )
