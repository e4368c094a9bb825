"""The steps of validation: what data must be like before anything is trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conf.schema.validate import ContractConf, LossesConf, ProfileConf, ValidateConf
from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Stats, step
from tasks.core.workdir import Workdir
from tasks.formats.document_files import DOCUMENTS_FILE, documents_in
from tasks.formats.model_folder import TOKENIZER_FILE
from tasks.validate.corpus_rules import in_full, judged, rules_of
from tasks.validate.losses import losses_of

__all__ = [
    "check_documents",
    "check_losses",
    "check_tokens",
    "in_full",
    "judged",
    "losses_of",
    "profile_shard",
    "rules_of",
    "validate_corpus",
]

PARTS = ("train", "valid")
GX = ("great_expectations", "pandas", "polars")


@step(resources=Cpu(1, memory_gb=1.0), libraries=("polars", "pyarrow", "numpy", "py3langid"))
def profile_shard(docs: Artifact, origin: Mapping[str, str], conf: ProfileConf, work: Workdir) -> Stats:
    """Measure one shard; `origin` is its source and its kind.

    docs.parquet → profile.parquet (one row of statistics), sample.parquet (rows with their language), distribution.npy.
    """
    from tasks.validate import distribution, row_languages, statistics, suite_tables

    path = docs / DOCUMENTS_FILE
    sampled = row_languages.marked(statistics.sample(path, conf.sample_rows))
    measured = statistics.profile(path, docs.shard or docs.key, origin["source"], origin["kind"])
    measured = measured.hstack(row_languages.statistics(sampled))
    measured.write_parquet(work / "profile.parquet", compression="zstd")
    sampled.write_parquet(work / "sample.parquet", compression="zstd")
    texts = (batch["text"] for batch in suite_tables.batches(path, ["text"]))
    distribution.write(work / distribution.FILE, distribution.count(texts))
    return dict(measured.row(0, named=True))


@step(blocks=True, resources=Cpu(1, memory_gb=1.5), libraries=(*GX, "pyarrow", "numpy", "py3langid"))
def validate_corpus(
    profiles: tuple[Artifact, ...],
    full: tuple[Artifact, ...],
    rules: Mapping[str, Any],
    previous: Artifact | None,
    conf: ValidateConf,
    work: Workdir,
) -> Stats:
    """Judge all shards, and the change since the last accepted verdict.

    `full` are the fetched shards of which every row is checked, `rules` what `rules_of` gave.
    profiles → verdict.json, distribution.npy, with quarantine SHARD/quarantine.json; aux/data_docs.

    Raises `DataError` for a critical failure, `StepError` for a check that itself fails.
    """
    from tasks.validate import corpus

    return corpus.judge(profiles, full, rules, previous, conf.max_sample_rows, work)


@step(blocks=True, resources=Cpu(1, memory_gb=0.2))
def check_losses(lost: Mapping[str, Any], conf: LossesConf, work: Workdir) -> Stats:
    """Refuse stages that drop too much of a source; `lost` is what `losses_of` counted.  counts → losses.json."""
    from tasks.validate import losses

    return losses.judge(lost, conf, work)


@step(blocks=True, resources=Cpu(1, memory_gb=1.5), libraries=GX, data=("conf/suites/contract_documents.yaml",))
def check_documents(docs: tuple[Artifact, ...], conf: ContractConf, work: Workdir) -> Stats:
    """Check the contract of the cleaned documents.  train/ and valid/docs.parquet of all shards → verdict.json."""
    from tasks.validate import contract, suite_tables, suites, verdict

    found = [(shard.shard or shard.key, part, documents_in(shard, part)) for shard in docs for part in PARTS]
    table = contract.documents(found)
    return verdict.judge(
        "Contract of the cleaned documents",
        suites.read(suites.FOLDER / "contract_documents.yaml", conf.documents),
        {"statistics": table, "corpus": suite_tables.sums(table, ("rows",))},
        work,
        "To go on: see what the cleaning steps dropped (`fromzero show`), and loosen their rules or add data; "
        "data.contract.documents sets other limits",
    )


@step(
    blocks=True, resources=Cpu(1, memory_gb=1.5), libraries=(*GX, "numpy"), data=("conf/suites/contract_tokens.yaml",)
)
def check_tokens(tokens: tuple[Artifact, ...], tokenizer: Artifact, conf: ContractConf, work: Workdir) -> Stats:
    """Check the contract of the token files.  train/ and valid/ of all shards and passes → verdict.json."""
    from tasks.validate import contract, suite_tables, suites, verdict

    names = [" ".join(filter(None, [shard.shard or shard.key, shard.part_name])) for shard in tokens]
    found = [(name, part, shard / part) for name, shard in zip(names, tokens, strict=True) for part in PARTS]
    table = contract.tokens(found, suite_tables.vocabulary_of(tokenizer / TOKENIZER_FILE))
    return verdict.judge(
        "Contract of the tokens",
        suites.read(suites.FOLDER / "contract_tokens.yaml", conf.tokens),
        {"statistics": table, "corpus": suite_tables.sums(table, ("documents", "tokens"))},
        work,
        "To go on: tokenize again (`fromzero run --refresh tokenize_shard`); if it fails again, the tokenizer and the "
        "tokens do not belong together",
    )
