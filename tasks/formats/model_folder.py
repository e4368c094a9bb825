"""Folders with models, as transformers writes them: from wherever one comes, nothing in it is run, or leads out of it.

This file is also code of registered models: it imports nothing of its own project.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG_FILE, TOKENIZER_CONFIG_FILE = "config.json", "tokenizer_config.json"
TOKENIZER_FILE, SPECIAL_TOKENS_FILE = "tokenizer.json", "special_tokens_map.json"
TASK_FILE = "task.json"
"""What a fine-tuned model is for: its kind, and what asking it takes."""
GENERATION_FILE = "generation_config.json"
CONFIGS = (CONFIG_FILE, TOKENIZER_CONFIG_FILE, "processor_config.json", GENERATION_FILE)
ADAPTER = "adapter_config.json"
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
"""What config.json calls how many places a network has; the first that is there counts."""
PADDED = frozenset(
    {
        "camembert", "data2vec-text", "ibert", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
        "xlm-roberta-xl",
    }
)  # fmt: skip
"""Values of model_type of networks whose places are counted from behind that of the padding."""


class ForeignModel(ValueError):
    """A model's folder that would run code, or read files, of its maker's choice."""


def refuse_foreign(folder: Path, own: str = "") -> None:
    """Raise `ForeignModel` if loading what lies in a folder would run code of it, or read weights from outside of it.

    transformers would ask whether to run code, look for an adapter's base where the adapter says, and open the files
    that an index of weights names wherever they are. `own` is the model_type of a network whose code is part of this
    project.
    """
    for name in CONFIGS:
        held = _read(folder / name)
        if "auto_map" in held and not (name == CONFIGS[0] and held.get("model_type") == own != ""):
            raise ForeignModel(
                f"{folder / name} wants to run code of its own (auto_map), which is never done: use a model of an "
                "architecture that transformers has"
            )
    if (folder / ADAPTER).exists():
        raise ForeignModel(f"{folder / ADAPTER}: an adapter names its base by itself: merge it into its model first")
    for index in folder.glob("*.index.json"):
        named = _read(index).get("weight_map", {})
        for file in set(map(str, named.values())) if isinstance(named, dict) else ():
            if file in ("", ".", "..") or any(letter in "/\\" or letter < " " for letter in file):
                raise ForeignModel(f"{index} names {file!r}, which is no file beside it: write the model anew")


def positions_in(config: Mapping[str, Any]) -> int | None:
    """How many tokens the network of a config.json can look at; None if nothing limits it."""
    found = next((config[name] for name in POSITIONS if isinstance(config.get(name), int)), None)
    if found is not None and config.get("model_type") in PADDED:
        padding = config.get("pad_token_id")
        return int(found) - 1 - (1 if padding is None else int(padding))
    return found


def read_task(folder: Path) -> dict[str, Any]:
    """What the model in a folder is for; empty for one that was not fine-tuned."""
    path = folder / TASK_FILE
    return dict(json.loads(path.read_bytes())) if path.exists() else {}


def write_task(folder: Path, task: Mapping[str, Any]) -> None:
    """Write what the model in a folder is for."""
    said = json.dumps(task, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / TASK_FILE).write_text(f"{said}\n")


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty for what is none, of which transformers says more."""
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
