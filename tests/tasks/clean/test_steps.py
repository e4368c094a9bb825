"""The whole stage, step by step, each step twice in different directories."""

from __future__ import annotations

import json
import subprocess
import sys

import polars as pl
import pytest

from conf.schema.clean import AdmitConf, CleanConf, DecontaminateConf, DedupConf, EvalsetConf, SplitConf
from tasks.clean import steps
from tasks.core.artifact import Artifact
from tasks.core.step import Step
from tasks.core.workdir import Workdir
from tasks.formats.documents import DOCUMENTS

SPLIT = AdmitConf(split=SplitConf(test=0.1, valid=0.05))


@pytest.fixture
def shards(publish, documents, docstrings) -> list:
    """Real documents in three shards with duplicates of all kinds between and within them."""
    near = [text + " See also the user guide." for text in docstrings[:200:4]]
    spaced = [text.replace(" ", "  ") for text in docstrings[100:300:5]]
    poor = ["no", "# # # #", "l\u00c3\u00a9vy wrote to a@b.org about the matter of the missing words"]
    talks = [
        [{"role": "user", "content": f"What does {text.split()[0]} mean?"}, {"role": "assistant", "content": text}]
        for text in docstrings[500:530]
    ]
    joined = ["\n".join(f"{turn['role']}: {turn['content']}" for turn in talk) for talk in talks]
    frames = {
        "packages-000": documents(docstrings[:300] + poor, label="numpy"),
        "packages-001": documents(docstrings[290:500] + near + spaced, label="numpy"),
        "chat-000": documents(joined, source="chat", messages=talks),
    }
    return [publish({"docs.parquet": frame}, shard=shard) for shard, frame in frames.items()]


def decontaminated(run_twice, filtered: list, evalset) -> list:
    conf = DecontaminateConf()
    counted = [run_twice(steps.count_ngrams, docs, evalset, conf=conf, shard=docs.shard) for docs in filtered]
    common = run_twice(steps.find_boilerplate, tuple(counted), evalset, conf=conf)
    return [
        run_twice(steps.decontaminate_shard, docs, evalset, common.part(docs.shard), conf=conf, shard=docs.shard)
        for docs in filtered
    ]


def ids(artifact, part: str) -> set[str]:
    return set(pl.read_parquet(artifact / f"{part}/docs.parquet")["id"])


def test_the_stage_gives_equal_bytes_twice_and_leaks_nothing(run_twice, shards) -> None:
    split = [run_twice(steps.split_shard, docs, (), None, conf=SPLIT, shard=docs.shard) for docs in shards]
    cleaned = [run_twice(steps.clean_shard, docs, None, conf=CleanConf(), shard=docs.shard) for docs in split]
    signed = [run_twice(steps.sign_shard, docs, conf=DedupConf(), shard=docs.shard) for docs in cleaned]
    clusters = run_twice(steps.cluster, tuple(signed), tuple(cleaned), None, conf=DedupConf())
    dropped = [clusters.part(docs.shard) for docs in cleaned]
    filtered = [
        run_twice(steps.filter_shard, docs, drop, conf=DedupConf(), shard=docs.shard)
        for docs, drop in zip(cleaned, dropped, strict=True)
    ]
    evalset = run_twice(steps.freeze_evalset, tuple(filtered), conf=EvalsetConf(max_documents=20))
    final = decontaminated(run_twice, filtered, evalset)

    assert {"min_words", "max_hash_ratio"} & set(cleaned[0].stats["parts"]["train"]["reasons"])
    assert clusters.stats["reasons"]["exact_duplicate"] >= 30
    assert clusters.stats["reasons"]["near_duplicate"] >= 20
    assert all(pl.read_parquet(clusters / f"{docs.shard}/drop.parquet")["id"].is_sorted() for docs in shards)
    held_out = set(pl.read_parquet(evalset / "test.parquet")["id"])
    struck = run_twice(steps.strike_evalset, evalset, tuple(sorted(held_out)[:2]), conf=EvalsetConf(max_documents=20))
    assert set(pl.read_parquet(struck / "test.parquet")["id"]) == set(sorted(held_out)[2:])
    assert len(held_out) > 20
    everywhere = [id_ for docs in final for part in ("train", "valid") for id_ in ids(docs, part)]
    assert len(set(everywhere)) == len(everywhere) > 300
    assert not held_out & set(everywhere)
    assert pl.read_parquet(final[2] / "train/docs.parquet").schema == DOCUMENTS
    for made in (*cleaned, *filtered, *final):
        counts = made.stats["parts"].values()
        gone = sum(count["documents_in"] - count["documents_out"] for count in counts)
        assert pl.read_parquet(made.aux / "rejects.parquet").height == gone


def test_a_new_shard_leaves_the_parts_of_the_old_ones_as_they_were(run_twice, shards) -> None:
    split = [run_twice(steps.split_shard, docs, (), None, conf=SPLIT, shard=docs.shard) for docs in shards]
    signed = [run_twice(steps.sign_shard, docs, conf=DedupConf(), shard=docs.shard) for docs in split]
    before = run_twice(steps.cluster, (signed[0], signed[2]), (split[0], split[2]), None, conf=DedupConf())
    after = run_twice(steps.cluster, tuple(signed), tuple(split), before, conf=DedupConf())
    for shard in ("packages-000", "chat-000"):
        assert before.part(shard).digest == after.part(shard).digest
    assert pl.read_parquet(after / "packages-001/drop.parquet").height > 50
    again = run_twice(steps.cluster, tuple(signed), tuple(split), after, conf=DedupConf())
    assert again.digest == after.digest and again.part("accepted").digest == after.part("accepted").digest


def test_rejects_are_kept_beside_and_not_digested(tmp_path, shards) -> None:
    work = Workdir(tmp_path / "split")
    work.make()
    steps.split_shard.function(shards[0], (), None, SPLIT, work)
    assert (work / "train/docs.parquet").exists() and [path.name for path in work.aux.iterdir()] == ["rejects.parquet"]


def test_importing_the_door_imports_nothing_heavy() -> None:
    heavy = "polars", "pyarrow", "numpy", "ftfy", "tokenizers"
    code = f"import sys, tasks.clean.steps; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_step_declares_the_libraries_that_shape_its_output() -> None:
    declared = {name: step.libraries for name, step in vars(steps).items() if isinstance(step, Step)}
    assert set(declared) == {
        "split_shard",
        "clean_shard",
        "sign_shard",
        "cluster",
        "filter_shard",
        "freeze_evalset",
        "strike_evalset",
        "count_ngrams",
        "find_boilerplate",
        "decontaminate_shard",
    }
    assert all({"polars", "pyarrow", "numpy"} <= set(libraries) for libraries in declared.values())
    assert "ftfy" in declared["clean_shard"]


def test_a_shard_that_was_set_aside_is_empty_all_the_way_and_its_documents_are_rejects(
    run_twice, shards, tmp_path
) -> None:
    rows = pl.read_parquet(shards[0] / "docs.parquet")
    torn = pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("text")).alias("text")
    rows.with_columns(torn).write_parquet(shards[0] / "docs.parquet")
    fates = []
    for failed in (["null_text: 1"], []):
        fate = Workdir(tmp_path / f"fate-{len(failed)}")
        (fate / "quarantine.json").write_text(json.dumps({"failed": failed}))
        fates.append(Artifact("validate_corpus", "k", "d", {}, None, None, fate.root))
    split = [
        run_twice(steps.split_shard, docs, (), fate, conf=SPLIT, shard=docs.shard)
        for docs, fate in zip(shards[:2], fates, strict=True)
    ]
    assert split[1].digest == run_twice(steps.split_shard, shards[1], (), None, conf=SPLIT).digest
    rejects = pl.read_parquet(split[0].aux / "rejects.parquet")
    assert set(rejects["id"]) == set(rows["id"]) and set(rejects["detail"]) == {"null_text: 1"}

    cleaned = [run_twice(steps.clean_shard, docs, None, conf=CleanConf(), shard=docs.shard) for docs in split]
    signed = [run_twice(steps.sign_shard, docs, conf=DedupConf(), shard=docs.shard) for docs in cleaned]
    clusters = run_twice(steps.cluster, tuple(signed), tuple(cleaned), None, conf=DedupConf())
    filtered = [
        run_twice(steps.filter_shard, docs, clusters.part(docs.shard), conf=DedupConf(), shard=docs.shard)
        for docs in cleaned
    ]
    evalset = run_twice(steps.freeze_evalset, tuple(filtered), conf=EvalsetConf(max_documents=20))
    final = decontaminated(run_twice, filtered, evalset)
    assert ids(final[0], "train") == ids(final[0], "valid") == set() and ids(final[1], "train")
