"""Which models translate: local folders known by their files, models of the hub by their commit."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tasks.core.artifact import hash_file
from tasks.core.errors import ConfigError, DataError, HostError, Transient, missing_part
from tasks.formats.model_folder import CONFIG_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE
from tasks.models.text_classification.classifier_options import BackTranslationConf, TranslatorConf

Identity = dict[str, Any]
"""{"files": {name: sha256}} of a folder, {"model": NAME, "revision": COMMIT} of a model on the hub."""
Memory = Mapping[str, Any]
"""{file: {"size", "stamp", "sha256"}}: a file is hashed again when its size or time has changed."""

OPTION = "models.NAME.train.augment.translate"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PIECES, BYTES = (".model", ".spm"), "ByT5Tokenizer"
"""The endings of SentencePiece's files, and the class of a tokenizer that needs none."""
NOT_READ = (".md", ".bin", ".h5", ".msgpack", ".ot", ".onnx", ".pt", ".pth", ".ckpt")
"""Endings of files in a model's folder that loading it never reads: what people read, and weights of other forms."""
FETCHED = ("*.json", "*.safetensors", "*.model", "*.spm", "*.txt", "*.jinja")
"""The files of a model on the hub that are fetched."""


def observe_translators(
    conf: BackTranslationConf, memory: Memory | None
) -> tuple[dict[str, Identity], dict[str, dict[str, Any]]]:
    """An observation: the identity of both models, and the hashes to remember.

    Raises `ConfigError`, naming the option, for a model that is not there, lacks a file, has no weights in safetensors,
    is no sequence-to-sequence model or has a shorter context than `conf.max_tokens`; `HostError` for a package that it
    needs, `Transient` for a hub that cannot be reached.
    """
    found, hashes = dict[str, Identity](), dict[str, dict[str, Any]]()
    for name in ("there", "back"):
        translator: TranslatorConf = getattr(conf, name)
        with naming(name, translator):
            if translator.is_local:
                folder = _folder(translator)
                _check(folder, conf.max_tokens)
                hashes |= {str(file): _hashed(file, memory or {}) for file in _files(folder)}
                found[name] = {"files": {file.name: hashes[str(file)]["sha256"] for file in _files(folder)}}
            else:
                _look_on_hub(translator, conf.max_tokens)
                found[name] = {"model": translator.model, "revision": translator.revision}
    return found, hashes


def located(conf: TranslatorConf, identity: Identity, max_tokens: int) -> Path:
    """The folder of a model that is still what was observed; a model of the hub is fetched into its cache.

    Raises `DataError` for a folder that has changed, and what observing it raises.
    """
    folder = _folder(conf) if conf.is_local else _from_hub(conf)
    _check(folder, max_tokens)
    if conf.is_local and {file.name: hash_file(file) for file in _files(folder)} != identity["files"]:
        raise DataError("has changed since it was looked at: run again")
    return folder


@contextmanager
def naming(name: str, conf: TranslatorConf) -> Iterator[None]:
    """Put the option that names a model before what is wrong with it."""
    try:
        yield
    except (ConfigError, DataError, HostError, Transient) as error:
        raise type(error)(f"{OPTION}.{name}.model={conf.model}: {error}") from error


def _folder(conf: TranslatorConf) -> Path:
    folder = Path(conf.model)
    if not folder.is_dir():
        raise ConfigError("there is no such folder: name one that exists, or OWNER/NAME on the hub and a revision")
    return folder


def _check(folder: Path, max_tokens: int) -> None:
    """Raise `ConfigError` for a folder that holds no model that can translate texts of `max_tokens` tokens."""
    names = [file.name for file in folder.iterdir() if file.is_file()]
    _check_names(names)
    config, about = _read(folder / CONFIG_FILE), _read(folder / TOKENIZER_CONFIG_FILE)
    named = any(name == TOKENIZER_FILE or name.startswith("vocab") or name.endswith(PIECES) for name in names)
    if not named and about.get("tokenizer_class") != BYTES:  # transformers would make an empty one
        raise ConfigError("holds no tokenizer: write it beside the model with its save_pretrained")
    if not config.get("is_encoder_decoder"):
        raise ConfigError(
            f"is no sequence-to-sequence model (its model_type is {config.get('model_type')!r}): name one, as T5, "
            "Marian or NLLB"
        )
    context = config.get("max_position_embeddings")
    if context is not None and max_tokens > context:
        raise ConfigError(f"its context is {context} tokens: lower {OPTION}.max_tokens from {max_tokens}")


def _check_names(names: Collection[str]) -> None:
    """Raise `ConfigError` for a model that lacks a file, `HostError` for a package that its files need."""
    if CONFIG_FILE not in names:
        raise ConfigError(f"holds no {CONFIG_FILE}: name what transformers' save_pretrained wrote")
    if not any(name in names for name in WEIGHTS):
        raise ConfigError(
            f"holds none of {', '.join(WEIGHTS)}, and weights of other forms are not read: load it once with "
            "transformers' AutoModelForSeq2SeqLM and write it with save_pretrained"
        )
    if TOKENIZER_FILE not in names and any(name.endswith(PIECES) for name in names) and not find_spec("sentencepiece"):
        raise HostError(f"its tokenizer is SentencePiece's: {missing_part('sentencepiece')}")


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes()) if file.is_file() else {}
    except ValueError as error:
        raise ConfigError(f"its {file.name} is no JSON ({error}): make it again") from error
    return found if isinstance(found, dict) else {}


def _files(folder: Path) -> list[Path]:
    """The files in a model's folder that may shape what it says."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith(".") and not file.name.lower().endswith(NOT_READ)
    )


def _hashed(file: Path, memory: Memory) -> dict[str, Any]:
    at, known = file.stat(), memory.get(str(file))
    state = {"size": at.st_size, "stamp": str(at.st_mtime_ns)}
    if known is not None and {name: known[name] for name in state} == state:
        return dict(known)
    return {**state, "sha256": hash_file(file)}


def _look_on_hub(conf: TranslatorConf, max_tokens: int) -> None:
    """Look for the model in the local cache, else on the hub; nothing is fetched."""
    import huggingface_hub as hub

    with _in_words(conf):
        for name in WEIGHTS:
            cached = hub.try_to_load_from_cache(conf.model, name, revision=conf.revision)
            if isinstance(cached, str):
                _check(Path(cached).parent, max_tokens)
                return
        _check_names(hub.HfApi().list_repo_files(conf.model, revision=conf.revision))


def _from_hub(conf: TranslatorConf) -> Path:
    import huggingface_hub as hub

    with _in_words(conf):
        return Path(hub.snapshot_download(conf.model, revision=conf.revision, allow_patterns=list(FETCHED)))


@contextmanager
def _in_words(conf: TranslatorConf) -> Iterator[None]:
    """Turn what `huggingface_hub` raises into our errors."""
    from huggingface_hub import constants, errors

    try:
        yield
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError) as error:
        if constants.HF_HUB_OFFLINE:
            raise ConfigError(
                "is not in the local cache, and the hub is not asked while HF_HUB_OFFLINE is set: unset it, run "
                f"`hf download {conf.model} --revision {conf.revision}` beforehand, or name a local folder as ./path"
            ) from error
        raise Transient(f"the hub cannot be reached ({error}): is there a network?") from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(f"has no revision {conf.revision} on the hub: name a commit of it") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ConfigError("is not on the hub: write OWNER/NAME (HF_TOKEN for private ones), or ./path") from error
    except errors.HfHubHTTPError as error:
        busy = error.response is None or error.response.status_code in (408, 429, 500, 502, 503, 504)
        raise (Transient if busy else ConfigError)(f"the hub refuses it ({error})") from error
