"""Suites run by Great Expectations."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from conf.schema.validate import ExpectationConf
from tasks.core.errors import ConfigError, StepError
from tasks.validate import expectations

TABLE = pl.DataFrame({"shard": ["a", "b", "c"], "rows": [5, 0, 7], "name": ["x", "y", None]})


def expect(name: str, column: str | None = None, **kwargs: Any) -> ExpectationConf:
    return ExpectationConf(expectation=name, column=column, kwargs=kwargs)


def test_outcomes_come_in_the_suites_order_with_observed_value_and_shards() -> None:
    suite = [
        expect("expect_column_values_to_be_between", "rows", min_value=1),
        expect("expect_column_max_to_be_between", "rows", max_value=6),
        expect("expect_table_row_count_to_equal", value=3),
    ]
    outcomes, _ = expectations.run(suite, {"statistics": TABLE})
    assert [outcome.success for outcome in outcomes] == [False, False, True]
    assert (outcomes[0].observed, outcomes[0].shards) == ("1 of 3 rows (0)", ("b",))
    assert (outcomes[1].observed, outcomes[1].shards) == ("7", ("a", "b", "c"))


def test_a_check_that_itself_fails_is_not_taken_for_bad_data() -> None:
    with pytest.raises(StepError, match="expect_column_mean_to_be_between on name of statistics itself failed"):
        expectations.run([expect("expect_column_mean_to_be_between", "name", min_value=1)], {"statistics": TABLE})


def test_a_suite_that_does_not_fit_its_tables_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="statistics has no column 'row'; there are shard, rows, name"):
        expectations.run([expect("expect_column_to_exist", "row")], {"statistics": TABLE})
    with pytest.raises(ConfigError, match="only statistics can be looked at"):
        wanted = expect("expect_table_row_count_to_equal", value=1).model_copy(update={"table": "sample"})
        expectations.run([wanted], {"statistics": TABLE})
    with pytest.raises(ConfigError, match="of all kinds of source"):
        wanted = expect("expect_column_to_exist", "rows").model_copy(update={"kinds": ("http",)})
        expectations.run([wanted], {"statistics": TABLE})
    with pytest.raises(ConfigError, match="wrong arguments"):
        expectations.run([expect("expect_column_max_to_be_between", "rows", maximum=1)], {"statistics": TABLE})
