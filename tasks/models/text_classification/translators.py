"""Which models translate: local folders known by their files, models of the hub by their commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tasks.core.artifact import hash_file
from tasks.core.errors import ConfigError, DataError
from tasks.finetune import hub_models, open_models, starting
from tasks.formats.model_folder import CONFIG_FILE, TOKENIZER_CONFIG_FILE
from tasks.models.text_classification.classifier_options import BackTranslationConf, TranslatorConf

Identity = dict[str, Any]
"""{"files": {name: sha256}} of a folder, {"model": NAME, "revision": COMMIT} of a model on the hub."""
Memory = Mapping[str, Any]
"""{file: {"size", "stamp", "sha256"}}: a file is hashed again when its size or time has changed."""

OPTION = "models.NAME.train.augment.translate"
LOADER = "AutoModelForSeq2SeqLM"
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


def naming(name: str, conf: TranslatorConf) -> AbstractContextManager[None]:
    """Put the option that names a model before what is wrong with it."""
    return starting.naming(f"{OPTION}.{name}.model={conf.model}")


def _folder(conf: TranslatorConf) -> Path:
    folder = Path(conf.model)
    if not folder.is_dir():
        raise ConfigError("there is no such folder: name one that exists, or OWNER/NAME on the hub and a revision")
    return folder


def _check(folder: Path, max_tokens: int) -> None:
    """Raise `ConfigError` for a folder that holds no model that can translate texts of `max_tokens` tokens."""
    names = [file.name for file in folder.iterdir() if file.is_file()]
    open_models.check_names(names, LOADER)
    config = open_models.read_object(folder / CONFIG_FILE)
    open_models.check_tokenizer(names, open_models.read_object(folder / TOKENIZER_CONFIG_FILE))
    if open_models.sort_of(config) != "span":
        raise ConfigError(
            f"is no sequence-to-sequence model (its model_type is {config.get('model_type')!r}): name one, as T5, "
            "Marian or NLLB"
        )
    context = config.get("max_position_embeddings")
    if context is not None and max_tokens > context:
        raise ConfigError(f"its context is {context} tokens: lower {OPTION}.max_tokens from {max_tokens}")


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
        for name in (open_models.WEIGHTS, open_models.INDEX):
            cached = hub.try_to_load_from_cache(conf.model, name, revision=conf.revision)
            if isinstance(cached, str):
                _check(Path(cached).parent, max_tokens)
                return
        open_models.check_names(hub.HfApi().list_repo_files(conf.model, revision=conf.revision), LOADER)


def _from_hub(conf: TranslatorConf) -> Path:
    import huggingface_hub as hub

    with _in_words(conf):
        return Path(hub.snapshot_download(conf.model, revision=conf.revision, allow_patterns=list(FETCHED)))


@contextmanager
def _in_words(conf: TranslatorConf) -> Iterator[None]:
    """Turn what `huggingface_hub` raises into our errors."""
    try:
        with hub_models.in_words(str(conf.revision)):
            yield
    except hub_models.Offline as error:
        raise ConfigError(
            "is not in the local cache, and the hub is not asked while HF_HUB_OFFLINE is set: unset it, run "
            f"`hf download {conf.model} --revision {conf.revision}` beforehand, or name a local folder as ./path"
        ) from error
