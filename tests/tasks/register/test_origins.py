"""The open models that a model was made from, through all of ours that are between."""

from __future__ import annotations

from typing import Any

from tasks.core.artifact import Manifest
from tasks.register.origins import origins, row

ORIGIN = {
    "start": "hub:own/a@1", "architecture": "LlamaForCausalLM", "parameters": 1_000, "licence": None,
    "base_model": ["own/b", "own/c"],
}  # fmt: skip


def made(step: str, *inputs: tuple[str, str | None], **stats: Any) -> Manifest:
    refs = tuple({"step": name, "key": "k", "digest": "d", "part": part, "shard": None} for name, part in inputs)
    return Manifest(step, "k", {}, "d", "a", (), stats, refs)


class Shelf:
    """A store of these manifests; what is not there is gone."""

    def __init__(self, *manifests: Manifest) -> None:
        self.by_name = {manifest.step: manifest for manifest in manifests}

    def look(self, step: str, key: str) -> Any:
        return self.by_name.get(step)


def test_an_origin_is_found_through_every_model_and_not_through_documents() -> None:
    shelf = Shelf(
        made("fetch", origin=ORIGIN),
        made("documents", ("elsewhere", None)),
        made("elsewhere", origin={**ORIGIN, "start": "of a document"}),
        made("first", ("fetch", "model"), ("documents", "train"), ("documents", None)),
        made("second", ("first", "model"), ("documents", None)),
        made("from nothing", ("documents", None), ("gone", "model")),
    )
    assert origins(shelf, "second", "k") == origins(shelf, "fetch", "k") == [ORIGIN]
    assert origins(shelf, "from nothing", "k") == origins(shelf, "gone", "k") == []


def test_a_licence_that_nobody_states_is_said_to_be_none() -> None:
    assert row(ORIGIN) == {
        "model": "hub:own/a@1", "architecture": "LlamaForCausalLM", "parameters": 1_000, "licence": "not stated",
        "made from": "own/b, own/c",
    }  # fmt: skip
