"""The gate: two evaluations go in, a decision with its reasons comes out."""

from __future__ import annotations

import polars as pl

from conf.schema.evaluate import GateConf
from tasks.core.artifact import Artifact
from tasks.core.errors import ArtifactError
from tasks.core.step import Stats, Workdir
from tasks.evaluate.compare import decide
from tasks.evaluate.output import write_json


def run(candidate: Artifact, incumbent: Artifact | None, conf: GateConf, work: Workdir) -> Stats:
    """Write decision.json and return it. Raises `ArtifactError` if the two are not evaluations of one kind on the same
    items; a refusal is no error here."""
    if incumbent is not None and incumbent.step != candidate.step:
        raise ArtifactError(f"{candidate.step} and {incumbent.step} measure different things: nothing to compare")
    theirs = None if incumbent is None else pl.read_parquet(incumbent / "items.parquet")
    decision = decide(pl.read_parquet(candidate / "items.parquet"), theirs, conf)
    for reason in decision["reasons"]:
        print(reason, flush=True)
    write_json(work / "decision.json", decision)
    return decision
