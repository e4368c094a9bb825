"""Models that others made, in folders as transformers' save_pretrained writes them: what one is, told before it is
loaded, from its small files alone."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, HostError, missing_part
from tasks.core.hashes import Hashes
from tasks.core.store.open import home
from tasks.formats.model_folder import (
    ADAPTER,
    CONFIG_FILE,
    CONFIGS,
    GENERATION_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    ForeignModel,
    positions_in,
    refuse_foreign,
)

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PIECES, BYTES = (".model", ".spm"), "ByT5Tokenizer"
"""The endings of SentencePiece's files, and the class of a tokenizer that needs none."""
TEMPLATES = ("chat_template.jinja", "chat_template.json")
TOKENIZER_FILES = (
    TOKENIZER_FILE,
    TOKENIZER_CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    "added_tokens.json",
    *TEMPLATES,
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
OTHER_VOCABULARIES = ("vocab.txt", "spiece.model", "sentencepiece.bpe.model")
"""What older tokenizers have in place of a tokenizer.json."""
CARD = "README.md"
SMALL = (*CONFIGS, INDEX, CARD, *TEMPLATES, ADAPTER)
"""The files from which a model is told."""
HEADERS = 1 << 27
"""Bytes that the header of a safetensors file may have; safetensors itself takes no longer one."""
ENCODERS = frozenset(
    {
        "albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert",
        "electra", "ernie", "eurobert", "ibert", "megatron-bert", "mobilebert", "modernbert", "mpnet", "nystromformer",
        "rembert", "roberta", "roberta-prelayernorm", "roformer", "squeezebert", "xlm-roberta", "xlm-roberta-xl",
    }
)  # fmt: skip
"""Values of model_type of networks that look at a whole text."""


def check_names(names: Collection[str], loader: str) -> None:
    """Raise `ConfigError` for a model that lacks a file, `HostError` for a package that its files need; `loader` is
    the class of transformers that reads its weights whatever their form."""
    if CONFIG_FILE not in names:
        raise ConfigError(f"holds no {CONFIG_FILE}: name what transformers' save_pretrained wrote")
    if WEIGHTS not in names and INDEX not in names:
        raise ConfigError(
            f"holds none of {WEIGHTS}, {INDEX}, and weights of other forms are not read: load it once with "
            f"transformers' {loader} and write it with save_pretrained"
        )
    if TOKENIZER_FILE not in names and any(name.endswith(PIECES) for name in names) and not find_spec("sentencepiece"):
        raise HostError(f"its tokenizer is SentencePiece's: {missing_part('sentencepiece')}")


def check_tokenizer(names: Collection[str], about: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a model without a tokenizer's vocabulary; `about` is its tokenizer_config.json."""
    named = any(name == TOKENIZER_FILE or name.startswith("vocab") or name.endswith(PIECES) for name in names)
    if not named and about.get("tokenizer_class") != BYTES:  # transformers would make an empty one
        raise ConfigError("holds no tokenizer: write it beside the model with its save_pretrained")


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object in a model's folder, empty if there is none; raises `ConfigError` for what is no JSON."""
    try:
        found = json.loads(file.read_bytes()) if file.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"its {file.name} is no JSON ({error}): make it again") from error
    return found if isinstance(found, dict) else {}


def hashed(files: Collection[Path]) -> dict[str, str]:
    """The sha256 of files by their names; one that has not changed since is not read again."""
    hashes = Hashes(home())
    return {file.name: hashes.of(file) for file in files}


def needed(folder: Path, names: Collection[str]) -> list[str]:
    """Those of a model's files that are taken: config, weights, tokenizer, card; `folder` holds the small ones.

    Raises `ConfigError` for weights that the index names and that are not there.
    """
    weights = [WEIGHTS]
    if WEIGHTS not in names:
        held = read_object(folder / INDEX).get("weight_map")
        weights = [INDEX, *sorted(set(map(str, held.values()) if isinstance(held, dict) else ()))]
    if lost := [name for name in weights if name not in names]:
        raise ConfigError(f"lacks {lost[0]}, which its {INDEX} names: bring the file, or write the model anew")
    known = (CONFIG_FILE, GENERATION_FILE, *TOKENIZER_FILES, *OTHER_VOCABULARIES, CARD)
    return sorted({*weights, *(name for name in known if name in names)})


def about(folder: Path, names: Collection[str]) -> dict[str, Any]:
    """What a model is, from its small files in `folder` and the `names` of all: architecture, type, sort (causal,
    masked, span, or None for what is none of them), context (tokens; None if nothing limits it), whether it has a
    chat template, licence and what it was made from (None, [] if that is not said).

    Raises `ConfigError` for what is no model that transformers loads without foreign code.
    """
    check_names(names, "AutoModel")
    try:
        refuse_foreign(folder)
    except ForeignModel as error:
        raise ConfigError(str(error)) from error
    config, tokenizer = read_object(folder / CONFIG_FILE), read_object(folder / TOKENIZER_CONFIG_FILE)
    check_tokenizer(names, tokenizer)
    architecture = str((config.get("architectures") or [""])[0])
    kind = str(config.get("model_type", ""))
    if not architecture or not _is_known(architecture, kind):
        raise ConfigError(
            f"is a {architecture or kind or 'network of no name'} by its {CONFIG_FILE}, which transformers "
            f"{version('transformers')} does not have: choose a model of an architecture that it has"
        )
    template = any(name in names for name in TEMPLATES) or bool(tokenizer.get("chat_template"))
    return {
        "architecture": architecture,
        "type": kind,
        "sort": sort_of(config),
        "context": positions_in(config),
        "has_template": template,
        **_card(folder / CARD),
    }


def sort_of(config: Mapping[str, Any]) -> str | None:
    """What the model of a config.json was trained to do: causal (go on with a text), masked (look at a whole one),
    span (read one and write another); None for what is none of these, and for a body whose head is not there."""
    architecture, kind = str((config.get("architectures") or [""])[0]), config.get("model_type")
    if config.get("is_encoder_decoder"):
        return "span"
    if kind in ENCODERS and not config.get("is_decoder"):
        return "masked"
    return "causal" if architecture.endswith(("ForCausalLM", "LMHeadModel")) else None


def parameters(folder: Path, names: Collection[str]) -> int:
    """The numbers in a model's weights, from the headers of its files; raises `ConfigError` for a broken one."""
    return sum(_numbers_in(folder / name) for name in names if name.endswith(".safetensors"))


def _numbers_in(file: Path) -> int:
    try:
        with file.open("rb") as held:
            size = int.from_bytes(held.read(8), "little")
            if size > HEADERS:
                raise ValueError("its header is too long")
            header = json.loads(held.read(size))
        shapes = [one["shape"] for name, one in header.items() if name != "__metadata__"]
        return sum(_product(shape) for shape in shapes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"its {file.name} is no file of safetensors ({error}): bring it again") from error


def _product(shape: list[int]) -> int:
    found = 1
    for size in shape:
        found *= int(size)
    return found


@cache
def _is_known(architecture: str, kind: str) -> bool:
    """Whether transformers has a class; its sources are read, for importing it takes seconds."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None or not architecture.isidentifier():
        return False
    models = Path(spec.origin).parent / "models"
    defines = f"\nclass {architecture}("
    own = kind.replace("-", "_")
    near = sorted(models.glob(f"{own}/modeling_*.py")) if own.isidentifier() else []
    return any(defines in file.read_text() for found in (near, models.glob("*/modeling_*.py")) for file in found)


def _card(file: Path) -> dict[str, Any]:
    """Licence and base models as a model's card says them at its head."""
    import yaml

    text = file.read_text(errors="replace")[: 1 << 16] if file.is_file() else ""
    first, *lines = text.removeprefix("\ufeff").splitlines() or [""]
    head = lines[: lines.index("---")] if first.rstrip() == "---" and "---" in lines else []
    try:
        said = yaml.safe_load("\n".join(head))
    except (yaml.YAMLError, ValueError, RecursionError):
        said = {}
    said = said if isinstance(said, dict) else {}
    licences = list(_words(said.get("license")))
    if licences == ["other"]:
        licences = list(_words(said.get("license_name"))) or licences
    return {"licence": ", ".join(licences) or None, "base_model": list(_words(said.get("base_model")))}


def _words(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and one.strip():
            yield " ".join(one.split())[:200]
