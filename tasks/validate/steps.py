"""The steps of validation: what data must be like before anything is trained on them."""

from __future__ import annotations

from conf.schema.validate import ContractConf, ProfileConf, ValidateConf
from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Stats, Workdir, step

PARTS = ("train", "valid")
GX = ("great_expectations", "pandas", "polars")


@step(resources=Cpu(1, memory_gb=1.0), libraries=("polars",))
def profile_shard(docs: Artifact, conf: ProfileConf, work: Workdir) -> Stats:
    """Measure one shard.  docs.parquet → profile.parquet (one row of statistics), sample.parquet."""
    from tasks.validate import statistics

    measured = statistics.profile(docs / "docs.parquet", docs.shard or docs.key)
    measured.write_parquet(work / "profile.parquet", compression="zstd")
    statistics.sample(docs / "docs.parquet", conf.sample_rows).write_parquet(
        work / "sample.parquet", compression="zstd"
    )
    return dict(measured.row(0, named=True))


@step(blocks=True, resources=Cpu(1, memory_gb=1.5), libraries=GX, data=("conf/suites/documents.yaml",))
def validate_corpus(
    profiles: tuple[Artifact, ...], previous: Artifact | None, conf: ValidateConf, work: Workdir
) -> Stats:
    """Judge all shards, and the change since the last accepted verdict.  profiles → verdict.json; aux/data_docs.

    Raises `DataError` for a critical failure, `StepError` for a check that itself fails.
    """
    from tasks.validate import suites, tables, verdict

    statistics, sample, corpus = tables.of_profiles(profiles, conf.max_sample_rows)
    row, drift = verdict.drifted(corpus, previous / "verdict.json" if previous else None, conf.drift)
    suite = [*suites.read(verdict.SUITES / "documents.yaml", conf.expectations), *drift]
    return verdict.judge(
        "Validation of the collected documents",
        suite,
        {"statistics": statistics, "sample": sample, "corpus": tables.one_row(row)},
        work,
        "To go on: mend the source or take it out of data.sources; or, if such data are meant, set the same "
        "expectation in data.validation.expectations with other limits or severity: warning",
    )


@step(blocks=True, resources=Cpu(1, memory_gb=1.5), libraries=GX, data=("conf/suites/contract_documents.yaml",))
def check_documents(docs: tuple[Artifact, ...], conf: ContractConf, work: Workdir) -> Stats:
    """Check the contract of the cleaned documents.  train/ and valid/docs.parquet of all shards → verdict.json."""
    from tasks.validate import contract, suites, tables, verdict

    found = [(shard.shard or shard.key, part, shard / part / "docs.parquet") for shard in docs for part in PARTS]
    table = contract.documents(found)
    return verdict.judge(
        "Contract of the cleaned documents",
        suites.read(verdict.SUITES / "contract_documents.yaml", conf.documents),
        {"statistics": table, "corpus": tables.sums(table, ("rows",))},
        work,
        "To go on: see what the cleaning steps dropped (`fromzero show`), and loosen their rules or add data; "
        "data.contract.documents sets other limits",
    )


@step(
    blocks=True, resources=Cpu(1, memory_gb=1.5), libraries=(*GX, "numpy"), data=("conf/suites/contract_tokens.yaml",)
)
def check_tokens(tokens: tuple[Artifact, ...], tokenizer: Artifact, conf: ContractConf, work: Workdir) -> Stats:
    """Check the contract of the token files.  train/ and valid/ of all shards → verdict.json."""
    from tasks.validate import contract, suites, tables, verdict

    found = [(shard.shard or shard.key, part, shard / part) for shard in tokens for part in PARTS]
    table = contract.tokens(found, tables.vocabulary_of(tokenizer / "tokenizer.json"))
    return verdict.judge(
        "Contract of the tokens",
        suites.read(verdict.SUITES / "contract_tokens.yaml", conf.tokens),
        {"statistics": table, "corpus": tables.sums(table, ("documents", "tokens"))},
        work,
        "To go on: tokenize again (`fromzero run --refresh tokenize_shard`); if it fails again, the tokenizer and the "
        "tokens do not belong together",
    )
