"""The data's way without server and child processes: who survives does not depend on how the corpus is cut."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.compose import compose
from flows.data import prepare
from tasks.core.artifact import Artifact
from tasks.core.errors import DataError, HostError
from tasks.core.plan.planner import Planner
from tasks.core.step import interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.formats.tokens import TokenFile
from tests.in_process import InProcess
from tests.pipeline_process import WORDS

RECIPE = """
extends: text
data:
  sources: {{mine: {{kind: files, paths: ["{texts}"], licence: CC0-1.0}}}}
  shard_mb: {shard_mb}
  split: {{test: 0.1, valid: 0.1}}
tokenizer: {{vocab_size: 400}}
"""
VALIDATION = ("profile_shard", "validate_corpus", "check_losses", "check_documents", "check_tokens")


def corpus(seed: int, count: int) -> list[str]:
    """Made-up documents; a third of them repeat an earlier one, with other spaces or with a few other words."""
    draw, words, texts = random.Random(seed), WORDS.split(), [""]
    while len(texts) <= count:
        sentences = [" ".join(draw.choices(words, k=9)) for _ in range(6)]
        text = "\n".join(f"The {sentence} of the {draw.choice(words)}." for sentence in sentences)
        if texts[-1] and draw.random() < 0.33:
            text = draw.choice(texts[1:])
            text = text.replace(" of ", "  of ") if draw.random() < 0.3 else f"{text} {draw.choice(words).upper()}"
        texts.append(text)
    return texts[1:]


def write(folder: Path, files: dict[str, Sequence[str]]) -> None:
    folder.mkdir(exist_ok=True)
    for name, texts in files.items():
        (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


@dataclass(frozen=True)
class Prepared:
    """What one run over the data made."""

    survivors: dict[str, set[str]]
    """Ids of the documents that training gets, by part, and of the evaluation set."""
    accepted: set[str]
    """Ids of the documents that deduplication accepted."""
    digests: dict[str, tuple[str, str]]
    """Of each shard, its final documents' and its tokens'."""
    stats: dict[str, Any]
    """Of the search for duplicates."""
    made: list[str]
    sizes: dict[str, int]
    """Of the clusters of accepted documents that have duplicates, by id."""
    seen: dict[str, dict[str, int]]
    """By part, how often training sees each document."""
    texts: dict[str, str]
    """Of the documents that training gets, by id."""
    overlaps: set[str]
    """What overlapped an evaluation set: the part of the detail before the count."""


def prepared(folder: Path, texts: Path, shard_mb: float = 8, *options: str) -> Prepared:
    """Run the data's way on a store in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "one.yaml").write_text(RECIPE.format(texts=texts, shard_mb=shard_mb))
    here = InProcess(Store(LocalBackend(folder / "store")), skip=VALIDATION)
    with interpreted_by(here):
        data = prepare(compose(str(folder / "one.yaml"), options))
    documents, evalset = [here.bring(shard) for shard in data.documents], here.bring(data.evalset)
    survivors = {
        part: {id_ for shard in documents for id_ in pl.read_parquet(shard / f"{part}/docs.parquet")["id"]}
        for part in ("train", "valid")
    }
    texts = dict(pl.concat([pl.read_parquet(shard / "train/docs.parquet") for shard in documents])["id", "text"].rows())
    dropped = pl.concat([pl.read_parquet(shard.path.parent / "aux/rejects.parquet") for shard in documents])
    overlaps = {detail.partition(":")[0] for detail in dropped["detail"]}
    survivors["test"] = set(pl.read_parquet(evalset / "test.parquet")["id"])
    last = max(here.store.manifests("cluster"), key=lambda manifest: len(manifest.inputs))
    once = data.tokens[: len(documents)]
    digests = {str(shard.shard): (shard.digest, own.digest) for shard, own in zip(documents, once, strict=True)}
    clusters = here.store.artifact(last)
    accepted = pl.read_parquet(clusters / "accepted/documents.parquet")
    sized = pl.concat([pl.read_parquet(clusters / f"{shard}/sizes.parquet") for shard in digests])
    tokens = [here.bring(shard) for shard in data.tokens]
    seen = {part: seen_in(part, documents, tokens) for part in ("train", "valid")}
    return Prepared(
        survivors, set(accepted["id"]), digests, last.stats, here.made, dict(sized.rows()), seen, texts, overlaps
    )


def seen_in(part: str, documents: list[Artifact], tokens: list[Artifact]) -> dict[str, int]:
    """How often each document of a part is in what training reads, by its tokens in the first artifact of its shard."""
    shards = [TokenFile.open(shard / part) for shard in tokens]
    counts = Counter(shard[n].tobytes() for shard in shards for n in range(len(shard)))
    ids = [pl.read_parquet(shard / f"{part}/docs.parquet")["id"].to_list() for shard in documents]
    first = [[shard[n].tobytes() for n in range(len(shard))] for shard in shards[: len(ids)]]
    seen = {
        id_: counts[text] for own, texts in zip(ids, first, strict=True) for id_, text in zip(own, texts, strict=True)
    }
    assert sum(seen.values()) == counts.total()
    return seen


TEXTS = corpus(seed=1, count=240)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The corpus in one file and one shard."""
    folder = tmp_path_factory.mktemp("whole")
    write(folder / "texts", {"all.jsonl": TEXTS})
    return prepared(folder / "run", folder / "texts")


@pytest.mark.parametrize(("files", "shard_mb"), [(6, 0.02), (12, 0.005)])
def test_the_same_documents_survive_in_other_files_orders_and_shard_sizes(
    whole: Prepared, tmp_path: Path, files: int, shard_mb: float
) -> None:
    shuffled = random.Random(files).sample(TEXTS, len(TEXTS))
    write(tmp_path / "texts", {f"{n}.jsonl": shuffled[n::files] for n in range(files)})
    found = prepared(tmp_path / "run", tmp_path / "texts", shard_mb)
    assert len(whole.digests) == 1 and len(found.digests) >= 5
    assert found.survivors == whole.survivors and found.accepted == whole.accepted
    same = ("clusters", "largest_cluster", "recomputed")  # a repeated text is set aside by its shard, or dropped here
    assert {name: found.stats[name] for name in same} == {name: whole.stats[name] for name in same}
    assert whole.stats["reasons"]["near_duplicate"] > 20 and whole.stats["reasons"]["exact_duplicate"] > 5
    assert all(whole.survivors.values())


def test_a_second_intake_evicts_nothing_touches_no_old_shard_and_counts_what_recomputing_would_change(
    whole: Prepared, tmp_path: Path
) -> None:
    files = {f"{n}.jsonl": TEXTS[n * 40 : (n + 1) * 40] for n in range(6)}
    write(tmp_path / "texts", {name: files[name] for name in list(files)[:3]})
    first = prepared(tmp_path / "run", tmp_path / "texts", 0.02)
    write(tmp_path / "texts", {name: files[name] for name in list(files)[3:]})
    second = prepared(tmp_path / "run", tmp_path / "texts", 0.02)
    assert first.accepted < second.accepted
    assert first.survivors["train"] < second.survivors["train"]
    assert first.digests.items() < second.digests.items()
    new = second.digests.keys() - first.digests.keys()
    assert {label.partition("[")[2].rstrip("]") for label in second.made} - {""} == new
    changed = {"dropped": len(second.accepted - whole.accepted), "accepted": len(whole.accepted - second.accepted)}
    assert second.stats["recomputed"] == changed
    assert changed["dropped"] >= 3 and changed["accepted"] >= 3
    again = prepared(tmp_path / "run", tmp_path / "texts", 0.02)
    assert not again.made and again.survivors == second.survivors


def test_a_model_of_names_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path) -> None:
    write(tmp_path / "texts", {"a.jsonl": ["one"]})
    (tmp_path / "one.yaml").write_text(RECIPE.format(texts=tmp_path / "texts/*.jsonl", shard_mb=8))
    planner = Planner(Store(LocalBackend(tmp_path / "store")))
    with interpreted_by(planner), pytest.raises(HostError, match="no spaCy model nobody"):
        prepare(compose(str(tmp_path / "one.yaml"), ("data.clean.names.model=nobody",)))
    assert planner.rows == []


UPSAMPLE = "data.upsample.times={2:2,3:4,7:1}"


def test_a_document_is_seen_by_the_size_of_its_cluster_however_the_corpus_is_cut(
    whole: Prepared, tmp_path: Path
) -> None:
    assert set(whole.seen["train"].values()) == {1}
    shuffled = random.Random(3).sample(TEXTS, len(TEXTS))
    write(tmp_path / "texts", {f"{n}.jsonl": shuffled[n::8] for n in range(8)})
    found = prepared(tmp_path / "run", tmp_path / "texts", 0.02, UPSAMPLE)
    assert len(found.digests) >= 4 and found.sizes == whole.sizes
    times = {id_: 1 if size >= 7 else 2 if size < 3 else 4 for id_, size in whole.sizes.items()}
    assert found.seen["train"] == {id_: times.get(id_, 1) for id_ in whole.survivors["train"]}
    assert Counter(found.seen["train"].values()).keys() == {1, 2, 4}
    assert times.keys() & found.survivors["valid"] and times.keys() & found.survivors["test"]
    assert set(found.seen["valid"].values()) == {1}, "held-out documents that have duplicates are seen once"


def test_upsampling_makes_nothing_again_but_the_repeats(tmp_path: Path) -> None:
    write(tmp_path / "texts", {f"{n}.jsonl": TEXTS[n * 40 : (n + 1) * 40] for n in range(3)})
    plain = prepared(tmp_path / "run", tmp_path / "texts", 0.02)
    repeats = [f"repeat_shard[{shard}]" for shard in plain.digests]
    assert not [label for label in plain.made if label.startswith("repeat_shard")]
    for options in ((UPSAMPLE,), ("data.upsample.times={2:3}",)):
        found = prepared(tmp_path / "run", tmp_path / "texts", 0.02, *options)
        assert found.made == repeats and found.digests == plain.digests
    planner = Planner(Store(LocalBackend(tmp_path / "run" / "store")))
    with interpreted_by(planner):
        prepare(compose(str(tmp_path / "run" / "one.yaml"), ("data.upsample.times={2:4}",)))
    to_run = [row for row in planner.rows if row.action == "run" and row.step not in VALIDATION]
    assert [f"{row.step}[{row.shard}]" for row in to_run] == repeats
    assert {row.reason for row in to_run} == {"times.2: 3 → 4"}
    assert not prepared(tmp_path / "run", tmp_path / "texts", 0.02).made


def test_what_overlaps_an_evaluation_set_from_elsewhere_leaves_and_a_changed_set_makes_no_more_than_that_again(
    tmp_path: Path,
) -> None:
    write(tmp_path / "texts", {"0.jsonl": TEXTS[:40], "1.jsonl": TEXTS[40:80]})
    plain = prepared(tmp_path / "run", tmp_path / "texts", 0.02)

    def asked(*questions: str) -> tuple[str, ...]:
        rows = [{"question": question, "answer": "A"} for question in questions]
        with gzip.open(tmp_path / "quiz.jsonl.gz", "wt") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        kind = f"{{kind: files, paths: [{tmp_path}/quiz.jsonl.gz], text: question}}"
        return (f"data.decontaminate.against={{quiz: {kind}}}",)

    first, second, *_ = sorted(plain.survivors["train"])
    one, two = plain.texts[first], plain.texts[second]
    again = ("count_ngrams", "decontaminate_shard", "tokenize_shard")
    steps = {"find_boilerplate", *(f"{step}[{shard}]" for step in again for shard in plain.digests)}
    for known, questions in (({first}, [one]), ({first, second}, ["Tea?", one, two])):
        options = asked(*questions)
        found = prepared(tmp_path / "run", tmp_path / "texts", 0.02, *options)
        assert plain.survivors["train"] - found.survivors["train"] == known
        assert found.survivors["test"] == plain.survivors["test"]
        assert "fetch_evaluation[quiz]" in found.made and set(found.made) <= {"fetch_evaluation[quiz]", *steps}
    assert {f"quiz quiz.jsonl.gz#{line}" for line in (2, 3)} <= found.overlaps
    assert not prepared(tmp_path / "run", tmp_path / "texts", 0.02).made, "without the set all is as before"


def test_an_evaluation_set_that_cannot_be_read_is_named_by_its_options(tmp_path: Path) -> None:
    write(tmp_path / "texts", {"a.jsonl": TEXTS[:20]})
    wrong = {"gone.jsonl": ("text", r"against\.quiz\.paths"), "a.jsonl": ("question", r"no field.*against\.quiz")}
    for path, (field, said) in wrong.items():
        kind = f"{{kind: files, paths: [{tmp_path}/texts/{path}], text: {field}}}"
        with pytest.raises(DataError, match=said):
            prepared(tmp_path / "run", tmp_path / "texts", 8, f"data.decontaminate.against={{quiz: {kind}}}")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('{"question": "b"}', r"line 3: has no field 'text'; .*: give data\.decontaminate\.against\.quiz\.text=FIELD"),
        ('{"text": "b"', r"line 3: is no JSON: .*against\.quiz"),
    ],
)
def test_a_bad_row_of_an_evaluation_set_is_found_before_anything_is_made(
    second: str, said: str, tmp_path: Path
) -> None:
    write(tmp_path / "texts", {"a.jsonl": TEXTS[:20]})
    (tmp_path / "quiz.jsonl").write_text(f'{{"text": "a"}}\n\n{second}\n')
    quiz = f"data.decontaminate.against={{quiz: {{kind: files, paths: [{tmp_path}/quiz.jsonl]}}}}"
    with pytest.raises(DataError, match=rf"quiz\.jsonl, {said}"):
        prepared(tmp_path / "run", tmp_path / "texts", 8, quiz)
    assert not list(Store(LocalBackend(tmp_path / "run" / "store")).manifests("fetch_shard"))
