"""What data must be like before anything is trained on them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from conf.schema.base import Conf


class ExpectationConf(Conf):
    """One Great Expectations expectation of a suite."""

    expectation: str
    """Its name, as expect_column_max_to_be_between or ExpectColumnMaxToBeBetween."""
    column: str | None = None
    """The column that it looks at; None for one on the whole table."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Its further arguments, such as min_value, max_value, regex, mostly."""
    severity: Literal["critical", "warning"] = "critical"
    """critical stops the run; warning is shown and passes."""
    table: Literal["statistics", "sample", "corpus"] = "statistics"
    """The table: statistics (a row per shard), sample (sampled rows of all shards), corpus (one row for the whole)."""


class ProfileConf(Conf):
    """What is measured of one shard."""

    sample_rows: int = Field(200, ge=1, le=100_000)
    """Rows of each shard that are kept as its sample, chosen by the smallest hash of their id."""


class DriftConf(Conf):
    """How far a corpus may move from the last accepted one."""

    max_row_shrink: float = Field(0.2, ge=0, le=1)
    """The share of its rows that a corpus may lose; 1 accepts any loss."""
    max_length_change: float = Field(0.5, ge=0)
    """The relative change of the mean text length, up or down, that is accepted."""
    severity: Literal["critical", "warning"] = "warning"
    """critical stops the run; warning is shown and passes."""


class ValidateConf(Conf):
    """The validation of what was collected."""

    profile: ProfileConf = ProfileConf()
    """What is measured of each shard."""
    max_sample_rows: int = Field(5_000, ge=1)
    """Sampled rows of all shards together that the suite sees, evenly over the shards; bounds its memory."""
    drift: DriftConf = DriftConf()
    """How far the corpus may move from the last accepted one."""
    expectations: tuple[ExpectationConf, ...] = ()
    """More expectations; one with the expectation, column and table of conf/suites/documents.yaml takes its place."""


class ContractConf(Conf):
    """The contract of what training gets, beside conf/suites/contract_documents.yaml and contract_tokens.yaml."""

    documents: tuple[ExpectationConf, ...] = ()
    """More expectations on the cleaned documents: on statistics (a row per shard and part) or corpus."""
    tokens: tuple[ExpectationConf, ...] = ()
    """More expectations on the tokens: on statistics (a row per shard and part) or corpus."""
