"""What a fine-tuning will take, from the files of what it starts from and the texts of its examples: a plan has a
second for it, and no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conf.schema.finetune import StartNetwork, TextTuneConf, TuneConf
from conf.schema.methods import AdapterMethod, FullMethod, HeadMethod
from tasks.finetune.preview import MOST
from tasks.formats.model_folder import CONFIG_FILE, positions_in
from tasks.text.encode import Encoder

BLOCK = re.compile(r"(?:^|\.)(?:layers?|h|blocks?|block)\.(\d+)\.")
"""In the name of a weight: the layer that it is of."""
TURNED = {"gpt2": 1, "openai-gpt": 1}
"""By model_type, where a matrix has its layer's outputs, if not on its first side."""
TABLE = re.compile(r"embed_tokens|word_embeddings|(?:^|\.)wte\.|(?:^|\.)shared\.")
"""In the name of the table in which tokens are looked up."""
Shapes = Mapping[str, Sequence[int]]


def shapes_in(folder: Path) -> dict[str, list[int]]:
    """The shapes of a model's weights by their names, from the headers of its files."""
    found: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as held:
            header = json.loads(held.read(int.from_bytes(held.read(8), "little")))
        found |= {name: one["shape"] for name, one in header.items() if name != "__metadata__"}
    return found


def trained(shapes: Shapes, method: FullMethod | AdapterMethod | HeadMethod, outputs: int = 0) -> int:
    """How many numbers a method trains; of a head, which is not there yet, none are counted. `outputs`: the side of a
    matrix that is its layer's output (1 in GPT-2)."""
    if isinstance(method, HeadMethod):
        return 0
    if isinstance(method, AdapterMethod):
        matrices = [shape for name, shape in shapes.items() if len(shape) == 2 and BLOCK.search(name)]
        magnitudes = sum(shape[outputs] for shape in matrices) if method.kind == "dora" else 0
        return method.rank * sum(sum(shape) for shape in matrices) + magnitudes
    below = method.frozen_layers
    return sum(_size(shape) for name, shape in shapes.items() if not below or _layer(name) >= below)


def _layer(name: str) -> int:
    """The layer of a weight; of the table of tokens -1, of what stands above all layers a large number."""
    found = BLOCK.search(name)
    return int(found[1]) if found else -1 if TABLE.search(name) else 1 << 30


def _size(shape: Sequence[int]) -> int:
    size = 1
    for one in shape:
        size *= one
    return size


def forecast(
    model: Path, tokenizer: Path, texts: Sequence[str], count: int, conf: TuneConf, method: Any, *, writes: bool
) -> dict[str, float]:
    """What tuning takes, at most (training may end early): parameters, trained ones, tokens of all passes, flops,
    memory_gb, and by what it holds weights_gb, gradients_gb, optimizer_gb, activations_gb; checkpoint_mb, and disk_gb
    of what is written. `texts` are those of some of the `count` examples; `writes`: it says tokens.

    FLOPs are 2 for each weight that a token meets forward, 2 on the way back to the lowest one that is trained, and 2
    for each that is (Kaplan et al. 2020); activations as in pretraining (Korthikanti et al. 2022).
    """
    config, shapes = json.loads((model / CONFIG_FILE).read_bytes()), shapes_in(model)
    looked_up = {name for name in shapes if TABLE.search(name) or "position_embed" in name or "wpe." in name}
    parameters = sum(map(_size, shapes.values()))
    met = parameters - sum(_size(shapes[name]) for name in looked_up)
    tuned = trained(shapes, method, TURNED.get(config.get("model_type"), 0))
    width, layers = _first(config, "hidden_size", "n_embd", "d_model"), _first(config, "num_hidden_layers", "n_layer")
    network = conf.network if isinstance(conf, TextTuneConf) else StartNetwork(kind="start")
    if not isinstance(network, StartNetwork):
        about = network.body(_first(config, "vocab_size"))
        width, layers = about["hidden_size"], about.get("layers", 1)
        met = 4 * (about["width"] + width) * width * layers
        parameters = tuned = met + about["vocab_size"] * about["width"]
    sizes = list(_cut(texts, tokenizer, positions_in(config), conf))
    tokens = round(sum(sizes) / max(len(sizes), 1) * count) * conf.epochs
    back = 2 * met if not isinstance(method, HeadMethod) else 0
    share = min(tuned / max(parameters, 1), 1.0) if isinstance(method, FullMethod) else 0.0
    extra = 6 * tuned if isinstance(method, AdapterMethod) else 2 * met * share
    rows = min(conf.run.micro_batch, conf.batch_size)
    vocabulary = 3 * _first(config, "vocab_size") if writes else 0
    held = {
        "weights": 4 * (parameters + (tuned if isinstance(method, AdapterMethod) else 0)),
        "gradients": 4 * tuned,
        "optimizer": 8 * tuned,
        "activations": 4 * rows * max(sizes, default=0) * (34 * layers * width + vocabulary),
    }
    return {
        "parameters": float(parameters),
        "trained": float(tuned),
        "tokens": float(tokens),
        "flops": float(tokens * (2 * met + back + extra)),
        "memory_gb": round(conf.run.processes * (sum(held.values()) + 5e8) / 1e9, 2),
        **{f"{name}_gb": round(value / 1e9, 3) for name, value in held.items()},
        "checkpoint_mb": round(12 * tuned / 1e6, 1),
        "disk_gb": round(4 * parameters / 1e9, 3),
    }


def _cut(texts: Sequence[str], tokenizer: Path, context: int | None, conf: TuneConf) -> Iterator[int]:
    """Tokens of each of the texts that are read."""
    wanted = getattr(conf, "max_length", "auto")
    limits = [one for one in (getattr(conf, "length_limit", None), context) if one is not None]
    most = wanted if isinstance(wanted, int) else min(limits, default=1 << 30)
    for ids in Encoder.of_file(tokenizer).texts(texts[:MOST]):
        yield min(len(ids), most)


def _first(config: Mapping[str, Any], *names: str) -> int:
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)
