"""The verdict on a set of tables: written down, and an error if something critical failed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.schema.validate import DriftConf, ExpectationConf
from tasks.core.errors import DataError
from tasks.core.step import Stats, Workdir
from tasks.validate import expectations, pages
from tasks.validate.expectations import Outcome

if TYPE_CHECKING:
    import polars as pl

SUITES = Path(__file__).parents[2] / "conf" / "suites"


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
    index = pages.write(work.aux / "data_docs", title, outcomes, results)
    failed = [outcome for outcome in outcomes if not outcome.success]
    critical = [outcome for outcome in failed if outcome.severity == "critical"]
    if critical:
        raise DataError(_refusal(title, critical, index, go_on))
    verdict = {"outcomes": [outcome.to_json() for outcome in outcomes], "corpus": tables["corpus"].row(0, named=True)}
    (work / "verdict.json").write_text(json.dumps(verdict, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    warnings = [str(outcome) for outcome in failed]
    for warning in warnings:
        print(f"warning: {warning}")
    return {
        "expectations": len(outcomes),
        "warnings": warnings,
        "data_docs": "data_docs/index.html",
        "corpus": verdict["corpus"],
    }


def drifted(
    corpus: dict[str, Any], previous: Path | None, conf: DriftConf
) -> tuple[dict[str, Any], list[ExpectationConf]]:
    """The corpus' row with its ratios to the last accepted verdict's, and the expectations on them, if there is one."""
    if previous is None:
        return corpus, []
    before = json.loads(previous.read_bytes())["corpus"]
    row = corpus | {
        "rows_ratio": corpus["rows"] / max(1, before["rows"]),
        "mean_length_ratio": corpus["mean_length"] / max(1.0, before["mean_length"]),
    }
    longer, shorter = 1 + conf.max_length_change, max(0.0, 1 - conf.max_length_change)
    wanted: list[tuple[str, dict[str, float]]] = [
        ("rows_ratio", {"min_value": 1 - conf.max_row_shrink}),
        ("mean_length_ratio", {"min_value": shorter, "max_value": longer}),
    ]
    name = "expect_column_values_to_be_between"
    return row, [
        ExpectationConf(expectation=name, column=column, kwargs=limits, severity=conf.severity, table="corpus")
        for column, limits in wanted
    ]


def _refusal(title: str, critical: Sequence[Outcome], index: Path, go_on: str) -> str:
    listed = "\n".join(f"  {outcome}" for outcome in critical)
    return (
        f"{title}: {len(critical)} critical expectation{'s' if len(critical) > 1 else ''} failed:\n{listed}\n"
        f"All outcomes: {index}\n{go_on}"
    )
