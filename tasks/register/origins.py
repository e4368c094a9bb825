"""The open models that a model was made from, however many of ours are between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tasks.core.artifact import Manifest

MODEL = "model"
"""The part that models hand to what is made from them."""


class Looks(Protocol):
    """What is needed of the store."""

    def look(self, step: str, key: str) -> Any:
        """The manifest of a whole artifact, or why there is none."""


def origins(store: Looks, step: str, key: str) -> list[dict[str, Any]]:
    """What the manifests of an artifact and of the models that it was made from say of their `origin`: {start,
    architecture, parameters, licence, base_model}; none for what was trained from nothing."""
    found, waiting, seen = list[dict[str, Any]](), [(step, key)], set[tuple[str, str]]()
    while waiting:
        at = waiting.pop()
        manifest = None if at in seen else store.look(*at)
        seen.add(at)
        if isinstance(manifest, Manifest):
            if "origin" in manifest.stats:
                found.append(dict(manifest.stats["origin"]))
            waiting += [(ref["step"], ref["key"]) for ref in manifest.inputs if ref["part"] == MODEL]
    return found


def row(origin: Mapping[str, Any]) -> dict[str, Any]:
    """An origin as the card's table has it."""
    return {
        "model": origin["start"],
        "architecture": origin["architecture"],
        "parameters": origin["parameters"],
        "licence": origin["licence"] or "not stated",
        "made from": ", ".join(origin["base_model"]),
    }
