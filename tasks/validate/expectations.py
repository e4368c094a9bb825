"""Suites run by Great Expectations, and what came of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conf.schema.validate import ExpectationConf
from tasks.core.errors import ConfigError
from tasks.validate import suites
from tasks.validate.outcomes import Outcome, outcome_of

if TYPE_CHECKING:
    import polars as pl


def run(suite: Sequence[ExpectationConf], tables: Mapping[str, pl.DataFrame]) -> tuple[list[Outcome], dict[str, Any]]:
    """Check the tables (each with a column "shard", but for corpus).

    Returns the outcomes in the suite's order and Great Expectations' result for each table. Raises `ConfigError` for a
    column or table that is not there, `StepError` for a check that itself fails: neither says anything of the data.
    """
    context = Context()
    outcomes: dict[int, Outcome] = {}
    results: dict[str, Any] = {}
    for name, table in tables.items():
        numbered = [(number, wanted) for number, wanted in enumerate(suite) if wanted.table == name]
        if not numbered:
            continue
        index = {"unexpected_index_column_names": ["shard"]} if "shard" in table.columns else {}
        check = context.check(name, [build(*item, table.columns) for item in numbered])
        results[name] = check(table, {"result_format": "COMPLETE", **index})
        for result in results[name].results:
            number = result.expectation_config.meta["number"]
            outcomes[number] = outcome_of(suite[number], result, table)
    missing = [wanted.table for number, wanted in enumerate(suite) if number not in outcomes]
    if missing:
        raise ConfigError(f"expectations are set on {missing[0]!r}, but only {', '.join(tables)} can be looked at here")
    return [outcomes[number] for number in sorted(outcomes)], results


class Context:
    """Great Expectations' context, in memory and silent."""

    def __init__(self) -> None:
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
        self._context = gx.get_context(mode="ephemeral", project_config=config)
        self._source = self._context.data_sources.add_pandas("fromzero")

    def check(self, name: str, expectations: list[Any]) -> Callable[[pl.DataFrame, dict[str, Any]], Any]:
        """A check of tables: called with one and a result format, it gives Great Expectations' result."""
        import great_expectations as gx

        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = self._context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        return lambda table, result_format: definition.run(
            batch_parameters={"dataframe": table.to_pandas()}, result_format=result_format
        )


def build(number: int, wanted: ExpectationConf, columns: Sequence[str]) -> Any:
    """Great Expectations' own expectation, numbered; raises `ConfigError` if it does not fit these columns."""
    import great_expectations.expectations as known

    if wanted.column is not None and wanted.column not in columns:
        raise ConfigError(
            f"{wanted.expectation}: {wanted.table} has no column {wanted.column!r}; there are {', '.join(columns)}"
        )
    if wanted.kinds and "kind" not in columns:
        raise ConfigError(f"{wanted.expectation}: {wanted.table} is of all kinds of source: leave its kinds out")
    column: dict[str, Any] = {} if wanted.column is None else {"column": wanted.column}
    if wanted.kinds:
        from great_expectations.expectations.row_conditions import Column

        column["row_condition"] = Column("kind").is_in(list(wanted.kinds))
    try:
        build = getattr(known, suites.class_name(wanted.expectation))
        return build(**column, **wanted.kwargs, severity=wanted.severity, meta={"number": number})
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{wanted.expectation} on {wanted.column or 'the table'}: wrong arguments: {error}"
        ) from error
