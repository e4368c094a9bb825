"""What the collected shards are held against, put together before anything runs: an input of the validation.

So its key holds the expectations that count here, and neither another kind's suite nor a comment makes it anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from conf.schema.validate import ValidateConf
from tasks.core.errors import ConfigError
from tasks.validate import suites


def rules_of(
    conf: ValidateConf,
    shards: Sequence[str],
    kinds: Sequence[str],
    brought: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> dict[str, Any]:
    """The suite of these kinds of source with what their modules have `brought`, the limits of drift, the quarantine,
    as JSON.

    Raises `ConfigError` for a suite that cannot be read, or a shard to release or a kind of source that is not there.
    """
    unknown = sorted(set(conf.quarantine.release) - set(shards))
    if unknown:
        raise ConfigError(
            f"data.validation.quarantine.release names {', '.join(unknown)}, which is no shard here; there are: "
            f"{', '.join(sorted(shards))}"
        )
    for expectation in conf.expectations:
        if absent := sorted(set(expectation.kinds) - set(kinds)):
            raise ConfigError(
                f"data.validation.expectations: {expectation.expectation} is for the kind {', '.join(absent)}, of "
                f"which no source is here; there are: {', '.join(sorted(set(kinds)))}"
            )
    wanted = suites.of_kinds(kinds, conf.expectations, brought)
    return {
        "suite": [expectation.model_dump(mode="json") for expectation in wanted],
        "drift": conf.drift.model_dump(mode="json"),
        "quarantine": conf.quarantine.model_dump(mode="json"),
    }


def in_full(fetched: Sequence[Any], conf: ValidateConf) -> tuple[Any, ...]:
    """The shards of which every row is checked: those whose names' hashes are the smallest."""
    ranked = sorted(fetched, key=lambda docs: hashlib.sha256(str(docs.shard).encode()).digest())
    return tuple(ranked[: conf.full_shards])


def judged(verdict: Any, shards: Sequence[str], conf: ValidateConf) -> list[Any]:
    """What the verdict says of each shard, an artifact of its own, so that one shard's fate does not touch the others;
    None for all where nothing is set aside."""
    if conf.quarantine.set_aside == "nothing":
        return [None] * len(shards)
    return [verdict.part(shard) for shard in shards]
