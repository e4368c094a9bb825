"""A document that was trained on is taken down: its shard goes without it, and nothing else is made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tasks.formats.tokens import TokenFile
from tests.pipeline_process import House


def content(manifest: dict[str, Any]) -> Path:
    """The folder of an artifact's files."""
    return Path(manifest["folder"]) / str(manifest["attempt"]) / "content"


def mine(house: House, step: str) -> list[dict[str, Any]]:
    """The artifacts of a step for the one shard of the source `mine`, the oldest first."""
    found = [manifest for manifest in house.manifests(step) if manifest["shard"] == "mine-000"]
    return sorted(found, key=lambda manifest: str(manifest["made_by"]["finished"]))


def token_ids(manifest: dict[str, Any]) -> list[bytes]:
    """The ids of each training document."""
    shard = TokenFile.open(content(manifest) / "train")
    return [shard[n].tobytes() for n in range(len(shard))]


def test_a_document_that_is_taken_down_leaves_its_shard_alone_and_the_models_that_know_it_are_named(
    house: House,
) -> None:
    (ready,), (tokens,) = mine(house, "decontaminate_shard"), mine(house, "tokenize_shard")
    doc, uri = pl.read_parquet(content(ready) / "train/docs.parquet").select("id", "uri").row(0)

    found = house.say("takedown", doc[:12], "--json").json
    assert [(one["id"], one["fate"], one["taken_down"]) for one in found["documents"]] == [
        (doc, "in the training data", False)
    ]
    known = {one["name"]: one for one in found["models"]}
    assert "champion" in known["tiny-base"]["aliases"] and known["tiny-chat"]["parts"] == ["train"]
    assert {row["key"] for row in found["artifacts"]} > {ready["key"], tokens["key"]}
    assert found["commands"] == [f"fromzero run {house.recipe}"]

    assert found["commands"][0] in house.say("takedown", uri, "--yes").out
    left = house.run("--until", "tokenize_shard")
    mapped = ("split", "clean", "sign", "filter", "decontaminate", "tokenize")
    assert left.made() == {f"{step}_shard[mine-000]" for step in mapped} | {
        "cluster",
        "count_ngrams[mine-000]",
        "check_losses",
        "check_documents",
    }
    before, after = map(token_ids, mine(house, "tokenize_shard"))
    assert after == before[1:] and before[0] not in after
    (dropped,) = house.say("rejects", "last", "--reason", "takedown", "--json").json["rows"]
    assert (dropped["stage"], dropped["uri"], dropped["text"]) == ("admit", uri, "")

    (frozen,) = house.manifests("freeze_evalset")
    (held,) = pl.read_parquet(content(frozen) / "test.parquet").filter(pl.col("source") == "mine")["id"][:1]
    assert "held out for evaluation only" in house.say("takedown", held, "--yes").out
    assert house.plan("--until", "strike_evalset").to("run").keys() == {"split_shard[mine-000]", "strike_evalset"}
