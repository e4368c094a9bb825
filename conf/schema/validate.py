"""What data must be like before anything is trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from conf.schema.base import Conf
from conf.schema.data import SourceName


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
    kinds: tuple[str, ...] = ()
    """Kinds of source, as data.sources.NAME.kind has them, whose shards it looks at; none for all."""
    fix: str = ""
    """What can be done if it fails, said with what was observed."""
    later: ClassVar[frozenset[str]] = frozenset({"fix"})
    formerly: ClassVar[Mapping[str, str]] = {"fix": "mend"}

    @model_validator(mode="after")
    def _the_corpus_is_of_all_kinds(self) -> ExpectationConf:
        if self.kinds and self.table == "corpus":
            raise ValueError("the table corpus is of all kinds: leave kinds out, or set it on statistics or sample")
        return self


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
    """Of these two: critical stops the run; warning is shown and passes."""
    max_divergence: float = Field(0.1, ge=0, le=1)
    """How far the distribution of three-byte sequences may move: Jensen–Shannon divergence in bits, 0 for the same, 1
    for nothing in common. Halves of one corpus are some 0.01 apart, docstrings of two packages 0.1."""
    divergence_severity: Literal["critical", "warning"] = "warning"
    """Of the divergence: critical stops the run; warning is shown and passes."""


class QuarantineConf(Conf):
    """What becomes of a shard that fails a critical expectation on its statistics or its rows."""

    set_aside: Literal["nothing", "shards"] = "nothing"
    """nothing: the run stops; shards: it goes on without the failing shards, and says so."""
    max_shards: int = Field(10, ge=1)
    """Most shards that are set aside; if more fail, the run stops."""
    max_row_share: float = Field(0.1, ge=0, lt=1)
    """The largest share of all documents that is set aside; if more fail, the run stops."""
    release: tuple[str, ...] = ()
    """Shards, as notes-003, that are let through although they fail."""


class ValidateConf(Conf):
    """The validation of what was collected."""

    profile: ProfileConf = ProfileConf()
    """What is measured of each shard."""
    max_sample_rows: int = Field(5_000, ge=1)
    """Sampled rows of all shards together that the suite sees, evenly over the shards; bounds its memory."""
    full_shards: int = Field(2, ge=0)
    """Shards, chosen by the hash of their names, of which every row is checked."""
    drift: DriftConf = DriftConf()
    """How far the corpus may move from the last accepted one."""
    expectations: tuple[ExpectationConf, ...] = ()
    """More expectations; one takes the place of its like (in expectation, column and table) of conf/suites/."""
    quarantine: QuarantineConf = QuarantineConf()
    """What becomes of shards that fail."""

    def for_key(self) -> dict[str, Any]:
        """What is measured; what it is held against is an input of its own, so that another limit forgets no memory."""
        return {
            name: value
            for name, value in super().for_key().items()
            if name not in ("drift", "expectations", "quarantine")
        }


class ContractConf(Conf):
    """The contract of what training gets, beside conf/suites/contract_documents.yaml and contract_tokens.yaml."""

    documents: tuple[ExpectationConf, ...] = ()
    """More expectations on the cleaned documents: on statistics (a row per shard and part) or corpus."""
    tokens: tuple[ExpectationConf, ...] = ()
    """More expectations on the tokens: on statistics (a row per shard and part) or corpus."""


Share = Annotated[float, Field(ge=0, le=1)]


class LossesConf(Conf):
    """How much of a source a stage may drop. Of each source the documents are counted that a stage takes in, and those
    that it drops, by reason; what `allow` lets pass does not count."""

    warn: Share = 0.3
    """The share of a source's documents beyond which a stage's drops are a warning; 1 for never."""
    fail: Share = 0.8
    """The share beyond which they stop the run before anything is trained; 1 for never."""
    min_documents: int = Field(20, ge=1)
    """Fewest documents of a source that alone can stop the run; smaller ones warn, and count with all the others."""
    allow: dict[SourceName, dict[str, Share]] = Field(default_factory=dict)
    """By source and reason, as {mine: {near_duplicate: 0.6}}: the share of its documents that a stage may drop for it.
    Reasons are those that `fromzero rejects` lists."""

    @model_validator(mode="after")
    def _warns_before_it_fails(self) -> LossesConf:
        if self.warn > self.fail:
            raise ValueError(f"warn ({self.warn}) is beyond fail ({self.fail}), so that nothing is warned of: lower it")
        return self
