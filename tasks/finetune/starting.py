"""Starts that are models of others: which one a start names now, whether a kind can be made from it, and what is said
of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conf.schema.finetune import FetchConf, FetchRun
from conf.schema.model_recipe import HUB
from tasks.core.errors import ConfigError, DataError, HostError, Transient
from tasks.core.number_format import count, size
from tasks.core.run_warnings import warning
from tasks.finetune import hub_models, open_models

MAIN = "main"
Identity = dict[str, Any]
"""{"files": {name: sha256}} of a folder, {"model": OWNER/NAME, "revision": COMMIT} of a model of the hub."""
SORTS = {"causal": "a causal language model", "masked": "an encoder", "span": "a sequence-to-sequence model"}
WAYS = {"causal": "Llama, Qwen, Gemma, Mistral or GPT-2", "masked": "BERT or RoBERTa", "span": "T5 or BART"}


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Put the option that names a model before what is wrong with it."""
    try:
        yield
    except (ConfigError, DataError, HostError, Transient) as error:
        raise type(error)(f"{option}: {error}") from error


def in_folder(start: str, option: str) -> tuple[Identity, FetchConf]:
    """Which model a folder holds, known by what its files hold, and what it is; nothing outside of it is asked.

    Raises `ConfigError`, naming the option, for a folder that holds none that can be used.
    """
    with naming(option):
        folder = Path(start)
        if not folder.is_dir():
            raise ConfigError("there is no such folder: name one that exists, or hub:OWNER/NAME")
        names = {file.name for file in folder.iterdir() if file.is_file()}
        about = open_models.about(folder, names)
        files = open_models.needed(folder, names)
        counted = open_models.parameters(folder, files)
        identity = {"files": open_models.hashed([folder / name for name in files])}
    sizes = {name: {"size": (folder / name).stat().st_size, "sha256": None} for name in files}
    found = {**about, "files": sizes, "parameters": counted, "start": folder.name}
    return identity, FetchConf(run=FetchRun(start=start, option=option, about=found))


def on_hub(start: str, option: str, memory: Mapping[str, Any] | None) -> tuple[tuple[Identity, FetchConf], Any]:
    """An observation: which model a start on the hub names now, and what it is; the memory holds what commits were
    looked at, and which of them a branch or tag was.

    Where the hub cannot be asked, what is remembered counts. Raises what `in_folder` does, and `Transient`.
    """
    name, revision = split(start)
    known = {"revisions": {}, "commits": {}, **(memory or {})}
    unreachable = None
    with naming(option):
        try:
            commit, about = hub_models.looked_up(name, revision, known["commits"])
        except (hub_models.Offline, Transient) as error:
            commit, unreachable = known["revisions"].get(revision, ""), str(error)
            if commit not in known["commits"]:
                raise type(error)(f"{error}; {elsewhere(name, revision, option)}") from error
            about = known["commits"][commit]
    new = {"commits": {**known["commits"], commit: about}, "revisions": {**known["revisions"], revision: commit}}
    found = {**about, "start": f"hub:{name}@{commit}"}
    run = FetchRun(start=start, option=option, about=found, unreachable=unreachable)
    return ({"model": name, "revision": commit}, FetchConf(run=run)), new


def split(start: str) -> tuple[str, str]:
    """OWNER/NAME and the revision of a start on the hub."""
    found = HUB.fullmatch(start)
    assert found, "checked by the model's options"
    return found["name"], found["revision"] or MAIN


def elsewhere(name: str, revision: str, option: str) -> str:
    """What to do where the hub cannot be reached."""
    folder = name.partition("/")[2]
    return (
        f"or, where there is a network, run `hf download {name} --revision {revision} --local-dir {folder}`, bring the "
        f"folder here and set {option.partition('=')[0]}=./{folder}"
    )


def check_fits(conf: FetchConf, takes: tuple[str, ...], kind: str, converses: bool) -> None:
    """Raise `ConfigError` for a model that a kind cannot be made from; `takes` are the sorts that it can."""
    about = conf.run.about
    with naming(conf.run.option):
        if about["sort"] not in takes:
            wanted = " or ".join(f"{SORTS[sort]} ({WAYS[sort]})" for sort in takes)
            what = SORTS.get(about["sort"], "a network without the head of a language model")
            raise ConfigError(f"is a {about['architecture']}, {what}, and a model of kind {kind} is made from {wanted}")
        if converses and not about["has_template"]:
            raise ConfigError(
                f"has no chat template, which a model of kind {kind} needs: take the variant that was made to chat, or "
                "put a chat_template.jinja beside its tokenizer in a local folder"
            )


def said(conf: FetchConf) -> str:
    """What an open model is, and where it comes from, in a sentence."""
    about, start = conf.run.about, conf.run.start
    parts = [f"{about['architecture']}, {count(about['parameters'])} parameters, {size(_bytes(conf))}"]
    if about["context"]:
        parts.append(f"context {about['context']:,} tokens")
    parts.append(f"licence {about['licence'] or 'not stated'}")
    if about["base_model"]:
        parts.append(f"made from {', '.join(about['base_model'])}")
    now = about["start"].rpartition("@")[2] if HUB.fullmatch(start) else ""
    where = f"{start} (commit {now})" if now and not start.endswith(now) else start
    return f"{where}: {', '.join(parts)}"


def foretold(conf: FetchConf) -> dict[str, float]:
    """What it holds, for the plan."""
    return {"parameters": float(conf.run.about["parameters"]), "bytes": float(_bytes(conf))}


def warned(conf: FetchConf) -> list[dict[str, str]]:
    """That what a branch stands for is not known now."""
    if not conf.run.unreachable:
        return []
    what = f"{conf.run.start} is taken for what it was when it was looked at last: {conf.run.about['start']}"
    return [warning(f"{what}; {conf.run.unreachable}", conf.run.option.partition("=")[0])]


def _bytes(conf: FetchConf) -> int:
    return sum(int(known["size"]) for known in conf.run.about["files"].values())
