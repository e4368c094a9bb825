"""The steps of the stage clean: admit and split, clean, deduplicate, freeze the evaluation set, decontaminate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from conf.schema.clean import AdmitConf, CleanConf, DecontaminateConf, DedupConf, EvalsetConf
from tasks.clean.emptied import held_out
from tasks.clean.spacy_models import recogniser
from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Stats, Step, step
from tasks.core.workdir import Workdir
from tasks.formats.document_files import DOCUMENTS_FILE, EVALUATION_FILE, REJECTS_FILE, documents_in
from tasks.formats.verdicts import failed_in

__all__ = [
    "clean_shard",
    "cluster",
    "count_ngrams",
    "decontaminate_shard",
    "filter_shard",
    "find_boilerplate",
    "freeze_evalset",
    "held_out",
    "recogniser",
    "sign_shard",
    "split_shard",
    "strike_evalset",
]

_TABLES = ("polars", "pyarrow", "numpy")


@step(resources=Cpu(1, 2), libraries=_TABLES)
def split_shard(docs: Artifact, taken: Sequence[str], judged: Artifact | None, conf: AdmitConf, work: Workdir) -> Stats:
    """Divide a shard's documents into train, valid and test, but those that were taken down (`taken`, ids), those whose
    licence is not allowed, and all of a shard that validation sets aside (`judged`, None where it sets none aside).

    docs.parquet and quarantine.json in → PART/docs.parquet out, rejects beside them.
    """
    from tasks.clean.split import split

    return split(
        docs / DOCUMENTS_FILE,
        partial(documents_in, work),
        work.aux / REJECTS_FILE,
        conf,
        taken,
        failed_in(judged) if judged else (),
    )


def _what_is_on(step: Step, conf: CleanConf) -> Step:
    """Cleaning with these options: what names and languages are found by counts only where they are looked for."""
    off = {"tasks.clean.names": conf.names is None, "tasks.clean.languages": conf.language is None}
    libraries = (*_TABLES, "ftfy", "numba", "phonenumbers", *(["py3langid"] if conf.language else []))
    return replace(step, unused=tuple(name for name, is_off in off.items() if is_off), libraries=libraries)


@step(resources=Cpu(1, 2), fits=_what_is_on)
def clean_shard(split: Artifact, ner_model: Mapping[str, str] | None, conf: CleanConf, work: Workdir) -> Stats:
    """Repair and scrub documents, drop poor and foreign ones; `ner_model` is what `recogniser` gave.

    PART/docs.parquet in → the same out, rejects beside.
    """
    from tasks.clean.clean import clean_parts

    return clean_parts(
        partial(documents_in, split),
        partial(documents_in, work),
        work.aux / REJECTS_FILE,
        conf,
    )


@step(resources=Cpu(1, 2), libraries=_TABLES)
def sign_shard(cleaned: Artifact, conf: DedupConf, work: Workdir) -> Stats:
    """Hash documents for the search for duplicates.  PART/docs.parquet in → signatures.parquet out."""
    from tasks.clean.signatures import sign_parts

    return sign_parts(partial(documents_in, cleaned), work / "signatures.parquet", conf)


@step(resources=Cpu(2, 4), libraries=_TABLES)
def cluster(
    signatures: tuple[Artifact, ...],
    cleaned: tuple[Artifact, ...],
    previous: Artifact | None,
    conf: DedupConf,
    work: Workdir,
) -> Stats:
    """Find duplicates over all shards.  signatures.parquet and PART/docs.parquet in → SHARD/drop.parquet,
    SHARD/sizes.parquet, accepted/documents.parquet out."""
    from tasks.clean.clusters import cluster_shards

    shards = {str(artifact.shard): artifact / "signatures.parquet" for artifact in signatures}
    texts = {str(shard.shard): partial(documents_in, shard) for shard in cleaned}
    scratch = work.scratch / "clusters"
    return cluster_shards(shards, texts, previous.path if previous else None, work.__truediv__, scratch, conf)


@step(resources=Cpu(1, 2), libraries=_TABLES)
def filter_shard(cleaned: Artifact, dropped: Artifact, conf: DedupConf, work: Workdir) -> Stats:
    """Take duplicates out.  PART/docs.parquet and drop.parquet in → PART/docs.parquet out, rejects beside them."""
    from tasks.clean.filter import apply_drops

    return apply_drops(
        partial(documents_in, cleaned),
        dropped / "drop.parquet",
        partial(documents_in, work),
        work.aux / REJECTS_FILE,
    )


@step(resources=Cpu(1, 2), libraries=_TABLES)
def freeze_evalset(
    filtered: tuple[Artifact, ...], way: Mapping[str, Any] | None = None, *, conf: EvalsetConf, work: Workdir
) -> Stats:
    """Collect held-out documents; `way` is what `held_out` counted, None in what is remembered of an earlier fromzero.

    test/docs.parquet of all shards in → test.parquet out."""
    from tasks.clean.evalset import freeze

    return freeze((documents_in(shard, "test") for shard in filtered), work / EVALUATION_FILE, conf, way)


@step(resources=Cpu(1, 2), libraries=_TABLES)
def strike_evalset(evalset: Artifact, taken: Sequence[str], conf: EvalsetConf, work: Workdir) -> Stats:
    """Take documents (`taken`, ids) out of a frozen evaluation set, which stays as it is otherwise.  test.parquet in →
    test.parquet out."""
    from tasks.clean.evalset import strike

    return strike(evalset / EVALUATION_FILE, work / EVALUATION_FILE, taken, conf)


@step(resources=Cpu(1, 2), libraries=_TABLES)
def count_ngrams(
    filtered: Artifact, evalsets: Artifact | tuple[Artifact, ...], conf: DecontaminateConf, work: Workdir
) -> Stats:
    """Count the n-grams of the evaluation sets in a shard.  train and valid in → counts.parquet out."""
    from tasks.clean.boilerplate import count

    return count(partial(documents_in, filtered), _tables(evalsets), work / "counts.parquet", conf)


@step(resources=Cpu(1, 2), libraries=_TABLES)
def find_boilerplate(
    counted: tuple[Artifact, ...], evalsets: Artifact | tuple[Artifact, ...], conf: DecontaminateConf, work: Workdir
) -> Stats:
    """Find what many documents of all shards have.  counts.parquet in → SHARD/common.parquet out."""
    from tasks.clean.boilerplate import find

    counts = {str(artifact.shard): artifact / "counts.parquet" for artifact in counted}
    return find(counts, _tables(evalsets), work.__truediv__, conf)


@step(resources=Cpu(1, 2), libraries=_TABLES)
def decontaminate_shard(
    filtered: Artifact,
    evalsets: Artifact | tuple[Artifact, ...],
    boilerplate: Artifact | None,
    conf: DecontaminateConf,
    work: Workdir,
) -> Stats:
    """Take out what overlaps the evaluation set, or the first of several and the others, which are as they were
    fetched, but for boilerplate.  train and valid, common.parquet in → train and valid out, rejects beside them."""
    from tasks.clean.decontaminate import decontaminate

    return decontaminate(
        partial(documents_in, filtered),
        _tables(evalsets),
        partial(documents_in, work),
        work.aux / REJECTS_FILE,
        conf,
        boilerplate / "common.parquet" if boilerplate else None,
    )


def _tables(evalsets: Artifact | tuple[Artifact, ...]) -> list[Path]:
    """The documents of the project's own evaluation set, then those of others."""
    own, *others = (evalsets,) if isinstance(evalsets, Artifact) else evalsets
    return [own / EVALUATION_FILE, *(other / DOCUMENTS_FILE for other in others)]
