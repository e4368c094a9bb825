"""The step that brings a model that others made into the store, where all that starts from it finds it."""

from __future__ import annotations

from typing import Any

from conf.schema.finetune import FetchConf
from conf.schema.model_recipe import HUB
from tasks.core.errors import Transient
from tasks.core.step import NETWORK, Cpu, Stats, foresee, observe, step
from tasks.core.workdir import Workdir
from tasks.finetune import hub_models, starting
from tasks.finetune.starting import Identity


def estimate(identity: Identity, conf: FetchConf) -> dict[str, float]:
    """What is to be brought; raises what is wrong if it cannot be, before anything runs."""
    if "revision" in identity:
        name, commit = identity["model"], identity["revision"]
        with starting.naming(conf.run.option):
            try:
                hub_models.check_reachable(name, commit)
            except (hub_models.Offline, Transient) as error:
                advice = starting.elsewhere(name, commit, conf.run.option)
                raise type(error)(f"{error}; the store does not hold this model: {advice}") from error
    return starting.foretold(conf)


def warns(identity: Identity, conf: FetchConf) -> list[dict[str, str]]:
    """That the hub could not be asked."""
    return starting.warned(conf)


@step(
    part_of="collect",
    version="1",
    resources=Cpu(1, memory_gb=2.0),
    retry=NETWORK,
    needs=("transformers", "tokenizers", "huggingface_hub"),
    estimate=estimate,
    warns=warns,
)
def fetch_model(identity: Identity, conf: FetchConf, work: Workdir) -> Stats:
    """Bring an open model: a folder, or a commit of the hub → model/ with its tokenizer in one form, card/.

    Raises `DataError` for a folder that has changed since it was looked at, `ConfigError` for a tokenizer that cannot
    be read.
    """
    from tasks.finetune import fetching

    return fetching.run(identity, conf, work)


def open_model(start: str, name: str, takes: tuple[str, ...], kind: str, converses: bool) -> Any:
    """In a flow: the artifact, with the part `model`, of what the model `name` of a recipe starts from: a folder, or a
    model of the hub. `takes`: the sorts of networks that its kind is made from; `converses`: it needs a chat template.

    Raises `ConfigError`, in plans too, for what cannot be used.
    """
    option = f"models.{name}.start={start}"
    if found := HUB.fullmatch(start):
        identity, conf = observe(f"hub/{found['name']}", lambda _, memory: starting.on_hub(start, option, memory), None)
    else:
        identity, conf = starting.in_folder(start, option)
    starting.check_fits(conf, takes, kind, converses)
    made = fetch_model(identity, conf=conf, about=name)
    foresee(fetch_model, describe, identity, conf=conf, always=True)
    return made


def describe(identity: Identity, conf: FetchConf) -> tuple[str, list[dict[str, str]]]:
    """What it is, and where it comes from."""
    return starting.said(conf), []
