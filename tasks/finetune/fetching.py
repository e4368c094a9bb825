"""The body that brings an open model: its files, and a tokenizer that is whole by itself."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conf.schema.finetune import FetchConf
from tasks.core.artifact import hash_file
from tasks.core.errors import ConfigError, DataError, HostError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.finetune import hub_models, open_models
from tasks.finetune.starting import Identity, naming
from tasks.formats.model_folder import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, refuse_foreign

WEIGHTS = ".safetensors"
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def run(identity: Identity, conf: FetchConf, work: Workdir) -> Stats:
    """Write model/ and card/ of the model that was observed."""
    about = conf.run.about
    with naming(conf.run.option):
        if "revision" in identity:
            place = work.scratch / "hub"
            hub_models.bring(identity["model"], identity["revision"], about["files"], place)
            for name in about["files"]:  # large ones are not written twice, and nobody changes them
                (os.link if name.endswith(WEIGHTS) else shutil.copyfile)(place / name, _target(work, name))
        else:
            for name, known in identity["files"].items():
                _copy(Path(conf.run.start) / name, _target(work, name), known)
        folder = work.content / "model"
        refuse_foreign(folder)
        complete(folder)
        counted = open_models.parameters(folder, about["files"])
    said = {name: about[name] for name in ("start", "architecture", "licence", "base_model")}
    return {"origin": {**said, "parameters": counted}, "parameters": counted, "context": about["context"]}


def _target(work: Workdir, name: str) -> Path:
    return work / (f"card/{name}" if name == open_models.CARD else f"model/{name}")


def _copy(source: Path, target: Path, digest: str) -> None:
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        raise DataError(f"has no {source.name} any more, which was there when it was looked at: run again") from None
    if hash_file(target) != digest:
        raise DataError(f"{source.name} has changed since it was looked at: run again")


def complete(folder: Path) -> None:
    """Let a model's tokenizer be whole in tokenizer.json and tokenizer_config.json: older ones have other files, or
    leave it to their class which their special tokens are.

    Raises `ConfigError` for one that has no such form, `HostError` for a package that reading it needs.
    """
    if not (folder / TOKENIZER_FILE).exists():
        _loaded(folder).save_pretrained(folder)
        if not (folder / TOKENIZER_FILE).exists():
            raise ConfigError(
                f"its tokenizer has no {TOKENIZER_FILE}, and transformers makes none of it: choose another"
            )
        for name in open_models.OTHER_VOCABULARIES:
            (folder / name).unlink(missing_ok=True)
    own = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    vocabulary, theirs = own.get_vocab(), _loaded(folder)
    lacking = {
        name: str(token)
        for name in SPECIAL
        if getattr(own, name, None) is None and (token := getattr(theirs, name, None)) and str(token) in vocabulary
    }
    if lacking:
        path = folder / TOKENIZER_CONFIG_FILE
        held = open_models.read_object(path)
        path.write_text(json.dumps({**held, **lacking}, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _loaded(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise HostError(f"its tokenizer: {_first(error)}: install it beside fromzero, with pip") from error
    except Exception as error:  # what tokenizers raise has no class of its own
        raise ConfigError(
            f"its tokenizer cannot be read ({_first(error)}): see that transformers' AutoTokenizer loads it"
        ) from error


def _first(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip().rstrip(":")
