"""The verdict on a set of tables: written down, and an error if something critical failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.schema.validate import ExpectationConf
from tasks.core.errors import DataError
from tasks.core.events import warn
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.formats.verdicts import DATA_DOCS, INDEX, write_verdict
from tasks.validate import data_docs, expectations
from tasks.validate.outcomes import Outcome

if TYPE_CHECKING:
    import polars as pl


def judge(
    title: str,
    suite: Sequence[ExpectationConf],
    tables: Mapping[str, pl.DataFrame],
    work: Workdir,
    go_on: str,
) -> Stats:
    """Run the suite; write verdict.json (outcomes and the corpus' row) and the Data Docs in aux/data_docs.

    Returns the counts and the warnings. Raises `DataError` that names each critical failure, the Data Docs' index page
    and, from `go_on`, what can be done.
    """
    outcomes, results = expectations.run(suite, tables)
    index = data_docs.write(work.aux / DATA_DOCS, title, outcomes, results)
    critical = [outcome for outcome in outcomes if outcome.stops]
    if critical:
        raise DataError(refusal(title, critical, index, go_on))
    return write(outcomes, tables["corpus"].row(0, named=True), work)


def write(outcomes: Sequence[Outcome], corpus: Mapping[str, Any], work: Workdir) -> Stats:
    """Write verdict.json; returns the counts and the warnings, which are also printed."""
    write_verdict(work, [outcome.to_json() for outcome in outcomes], corpus)
    warnings = [str(outcome) for outcome in outcomes if not outcome.success]
    for warning in warnings:
        warn(warning)
    return {
        "expectations": len(outcomes),
        "warnings": warnings,
        "data_docs": f"{DATA_DOCS}/{INDEX}",
        "corpus": dict(corpus),
    }


def refusal(title: str, critical: Sequence[Outcome], index: Path, go_on: str) -> str:
    """Why data are refused: each critical failure, the Data Docs' index page, and what can be done."""
    listed = "\n".join(f"  {outcome}" for outcome in critical)
    return (
        f"{title}: {len(critical)} critical expectation{'s' if len(critical) > 1 else ''} failed:\n{listed}\n"
        f"All outcomes: {index}\n{go_on}"
    )
