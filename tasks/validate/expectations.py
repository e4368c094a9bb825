"""Suites run by Great Expectations, and what came of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from conf.schema.validate import ExpectationConf
from tasks.core.errors import ConfigError, StepError
from tasks.validate import suites

if TYPE_CHECKING:
    import polars as pl

MANY = 8


@dataclass(frozen=True)
class Outcome:
    """What one expectation found."""

    expectation: str
    column: str | None
    table: str
    severity: str
    success: bool
    expected: dict[str, Any]
    observed: str
    """The observed value, or how many rows are unexpected and the first of them."""
    shards: tuple[str, ...]
    """Where: those of the unexpected rows, or all where the expectation is on the table as a whole."""

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return asdict(self) | {"shards": list(self.shards)}

    def __str__(self) -> str:
        where = f"column {self.column!r}" if self.column else "the table"
        shards = ", ".join(self.shards[:MANY]) + (
            f" and {len(self.shards) - MANY} more" if len(self.shards) > MANY else ""
        )
        wanted = ", ".join(f"{name}={value!r}" for name, value in sorted(self.expected.items()))
        found = f" in shard {shards}" if shards else ""
        return f"{self.expectation}({wanted}) on {where} of {self.table}: observed {self.observed}{found}"


def run(suite: Sequence[ExpectationConf], tables: Mapping[str, pl.DataFrame]) -> tuple[list[Outcome], dict[str, Any]]:
    """Check the tables (each with a column "shard", but for corpus).

    Returns the outcomes in the suite's order and Great Expectations' result for each table. Raises `ConfigError` for a
    column or table that is not there, `StepError` for a check that itself fails: neither says anything of the data.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    source = context.data_sources.add_pandas("fromzero")
    outcomes: dict[int, Outcome] = {}
    results: dict[str, Any] = {}
    for name, table in tables.items():
        numbered = [(number, wanted) for number, wanted in enumerate(suite) if wanted.table == name]
        if not numbered:
            continue
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        checks = gx.ExpectationSuite(name=name, expectations=[_build(*item, table.columns) for item in numbered])
        definition = gx.ValidationDefinition(name=name, data=batch, suite=context.suites.add(checks))
        indexed = {"unexpected_index_column_names": ["shard"]} if "shard" in table.columns else {}
        results[name] = context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": table.to_pandas()}, result_format={"result_format": "COMPLETE", **indexed}
        )
        shards = tuple(sorted(set(table["shard"]))) if indexed else ()
        for result in results[name].results:
            number = result.expectation_config.meta["number"]
            outcomes[number] = _outcome(suite[number], result, shards)
    missing = [wanted.table for number, wanted in enumerate(suite) if number not in outcomes]
    if missing:
        raise ConfigError(f"expectations are set on {missing[0]!r}, but only {', '.join(tables)} can be looked at here")
    return [outcomes[number] for number in sorted(outcomes)], results


def _build(number: int, wanted: ExpectationConf, columns: Sequence[str]) -> Any:
    import great_expectations.expectations as known

    if wanted.column is not None and wanted.column not in columns:
        raise ConfigError(
            f"{wanted.expectation}: {wanted.table} has no column {wanted.column!r}; there are {', '.join(columns)}"
        )
    column = {} if wanted.column is None else {"column": wanted.column}
    try:
        build = getattr(known, suites.class_name(wanted.expectation))
        return build(**column, **wanted.kwargs, severity=wanted.severity, meta={"number": number})
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{wanted.expectation} on {wanted.column or 'the table'}: wrong arguments: {error}"
        ) from error


def _outcome(wanted: ExpectationConf, result: Any, shards: tuple[str, ...]) -> Outcome:
    name = suites.snake(suites.class_name(wanted.expectation))
    raised = _raised(result.exception_info)
    if raised:
        raise StepError(
            f"the check {name} on {wanted.column or 'the table'} of {wanted.table} itself failed, which says nothing "
            f"of the data: {raised}. Mend or drop it in the suite"
        )
    found = result.result
    if "unexpected_count" in found:
        rows = found.get("unexpected_index_list") or []
        shards = tuple(sorted({str(row["shard"]) for row in rows if isinstance(row, dict)}))
        first = ", ".join(_short(value) for value in found["partial_unexpected_list"][:3])
        observed = f"{found['unexpected_count']} of {found['element_count']} rows" + (f" ({first})" if first else "")
    else:
        observed = _short(found.get("observed_value"))
    return Outcome(
        name, wanted.column, wanted.table, wanted.severity, bool(result.success), wanted.kwargs, observed, shards
    )


def _raised(info: Mapping[str, Any]) -> str | None:
    reports = [info] if "raised_exception" in info else list(info.values())
    return next((str(report["exception_message"]) for report in reports if report["raised_exception"]), None)


def _short(value: Any, limit: int = 80) -> str:
    shown = f"{value:.6g}" if isinstance(value, float) else repr(value.item() if hasattr(value, "item") else value)
    return shown if len(shown) <= limit else f"{shown[:limit]}…"
