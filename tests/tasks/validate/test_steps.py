"""The steps of validation, from documents to verdicts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.schema.validate import ContractConf, ProfileConf, ValidateConf
from tasks.core.artifact import Artifact, hash_file
from tasks.core.errors import DataError
from tasks.core.workdir import Workdir
from tasks.validate.steps import check_documents, check_tokens, in_full, profile_shard, rules_of, validate_corpus
from tests.tasks.validate.conftest import artifact, docs_in, table_of, work_in
from tests.tasks.validate.test_contract import write_tokens

GOOD = [f"A good text number {number}, long enough to be kept." for number in range(40)]
LONG = [text * 3 for text in GOOD]


def profiled(folder: Path, tables: dict[str, pl.DataFrame], kind: str = "files") -> tuple[Artifact, ...]:
    found = []
    for shard, table in tables.items():
        work, origin = work_in(folder / "profiles" / shard), {"source": shard.split("-")[0], "kind": kind}
        profile_shard.function(docs_in(folder / "docs", shard, table), origin, ProfileConf(sample_rows=20), work)
        found.append(artifact(work.root, "profile_shard", shard))
    return tuple(found)


def validated(
    folder: Path,
    tables: dict[str, pl.DataFrame],
    work: Workdir,
    previous: Artifact | None = None,
    **options: Any,
) -> dict[str, Any]:
    """What validation says of shards of one kind, `options` being its config's."""
    profiles, conf = profiled(folder, tables), ValidateConf.model_validate({"full_shards": 0} | options)
    docs = [artifact(folder / "docs" / shard, "fetch_shard", shard) for shard in tables]
    rules = json.loads(json.dumps(rules_of(conf, list(tables), ["files"])))
    return validate_corpus.function(profiles, in_full(docs, conf), rules, previous, conf, work)


def content(work: Workdir) -> dict[str, str]:
    return {p.relative_to(work.content).as_posix(): hash_file(p) for p in work.content.rglob("*") if p.is_file()}


def test_good_documents_pass_and_the_data_docs_load_nothing(tmp_path: Path, work: Workdir) -> None:
    stats = validated(tmp_path, {"own-000": table_of(GOOD), "own-001": table_of(GOOD)}, work)
    assert stats["warnings"] == [] and stats["corpus"]["rows"] == 80
    pages = {page.name: page.read_text() for page in (work.aux / "data_docs").iterdir()}
    assert set(pages) == {"index.html", "statistics.html", "sample.html", "corpus.html"}
    assert "duplicate_share" in pages["index.html"] and "duplicate_share" in pages["statistics.html"]
    for page in pages.values():
        assert not re.search(r"<script|<link|<img|url\(", page) and "default-src 'none'" in page
        assert all(target in pages for target in re.findall(r'href="([^"#:]+\.html)"', page))


def test_critical_failures_name_expectation_column_value_shard_page_and_fix(tmp_path: Path, work: Workdir) -> None:
    bad = ["x" * 30 + "\ufffd" * 30 + str(n) for n in range(5)]
    with pytest.raises(DataError) as caught:
        validated(tmp_path, {"own-000": table_of(GOOD), "own-001": table_of(bad)}, work)
    message = str(caught.value)
    assert "expect_column_values_to_be_between(max_value=0.01) on column 'replacement_share'" in message
    assert "1 of 2 rows (0.4918" in message and "in shard own-001" in message and "own-000" not in message
    index = Path(re.findall(r"\S+index\.html", message)[0])
    assert "replacement_share" in index.read_text()
    assert "data.validation.expectations" in message
    assert not (work.content / "verdict.json").exists()


def test_warnings_pass_and_are_listed(tmp_path: Path, work: Workdir) -> None:
    table = table_of(GOOD, licence=[None] * len(GOOD))
    stats = validated(tmp_path, {"own-000": table}, work)
    (warning,) = stats["warnings"]
    assert "'without_licence'" in warning and "own-000" in warning


def test_data_cannot_act_in_the_pages(tmp_path: Path, work: Workdir) -> None:
    evil = ["<script>alert(1)</script><img src=x onerror=alert(2)> \ufffd\ufffd\ufffd" + "x" * 400 for _ in range(3)]
    validated(tmp_path, {"own-000": table_of(evil)}, work, full_shards=1)
    for page in (work.aux / "data_docs").iterdir():
        assert not re.search(r"<script|<img", page.read_text())


@pytest.mark.usefixtures("small_suite")
@pytest.mark.parametrize(
    ("now", "warned"),
    [
        (GOOD[:30], ["rows_ratio"]),
        ([t * 3 for t in GOOD], ["mean_length_ratio"]),
        ([f"Ganz andere Worte als zuvor: Zeile {n}, und noch weitere." for n in range(40)], ["divergence"]),
    ],
)
def test_drift_from_the_last_accepted_corpus_is_a_warning(tmp_path: Path, now: list[str], warned: list[str]) -> None:
    first, table = work_in(tmp_path / "first"), {"own-000": table_of(now)}
    validated(tmp_path / "1", {"own-000": table_of(GOOD)}, first)
    before = artifact(first.root, "validate_corpus")
    stats = validated(tmp_path / "2", table, work_in(tmp_path / "second"), before)
    found = [re.findall(r"'(\w+_ratio|divergence)'", warning) for warning in stats["warnings"]]
    assert found == [warned]
    strict = {"divergence_severity" if warned == ["divergence"] else "severity": "critical"}
    with pytest.raises(DataError, match=warned[0]):
        validated(tmp_path / "3", table, work_in(tmp_path / "third"), before, drift=strict)


def test_the_sample_of_all_shards_together_is_bounded(tmp_path: Path, work: Workdir) -> None:
    tables = {f"own-{n:03d}": table_of(GOOD) for n in range(4)}
    count: dict[str, Any] = {
        "expectation": "expect_table_row_count_to_equal",
        "kwargs": {"value": 12},
        "table": "sample",
    }
    assert validated(tmp_path, tables, work, max_sample_rows=12, expectations=[count])["warnings"] == []


def test_profiles_and_verdicts_are_the_same_bytes_in_any_folder(tmp_path: Path) -> None:
    found = []
    for name in "ab":
        verdict = work_in(tmp_path / name / "verdict")
        validated(tmp_path / name, {"own-000": table_of(GOOD)}, verdict, full_shards=1)
        found.append(content(verdict) | content(Workdir(tmp_path / name / "profiles" / "own-000")))
    assert found[0] == found[1] and set(found[0]) == {
        "verdict.json",
        "profile.parquet",
        "sample.parquet",
        "distribution.npy",
    }


def cleaned(folder: Path, shard: str, train: pl.DataFrame, valid: pl.DataFrame) -> Artifact:
    docs_in(folder, shard, train, "train")
    return docs_in(folder, shard, valid, "valid")


def test_a_corpus_without_validation_documents_is_told_which_option_holds_some_back(tmp_path: Path) -> None:
    docs = cleaned(tmp_path, "a", table_of(GOOD), table_of([]))
    (warning,) = check_documents.function((docs,), ContractConf(), work_in(tmp_path / "1"))["warnings"]
    assert "observed 1 of 1 rows (0): there are no validation documents" in warning
    assert "raise data.split.valid" in warning


def test_cleaned_documents_keep_the_contract_or_are_refused(tmp_path: Path) -> None:
    one = cleaned(tmp_path, "a", table_of(GOOD[:20]), table_of(GOOD[:1], id=["f" * 32]))
    two = cleaned(tmp_path, "b", table_of(["other"]), table_of([]))
    stats = check_documents.function((one, two), ContractConf(), work_in(tmp_path / "1"))
    assert stats["warnings"] == [] and stats["corpus"] == {"rows": 22, "train_rows": 21, "valid_rows": 1}
    cases = {
        "empty_text": table_of([" "]),
        "null_licence": table_of(["x"], licence=[None]),
        "repeated_ids": table_of(["x"], id=["f" * 32]),
        "schema": table_of(["x"]).drop("label"),
    }
    for column, table in cases.items():
        broken = cleaned(tmp_path / column, "c", table, table_of([]))
        with pytest.raises(DataError, match=rf"(?s)'{column}'.*in shard .*c.*index\.html"):
            check_documents.function((one, broken), ContractConf(), work_in(tmp_path / f"work-{column}"))


def test_a_corpus_without_training_documents_is_refused(tmp_path: Path, work: Workdir) -> None:
    with pytest.raises(DataError, match="train_rows"):
        check_documents.function((cleaned(tmp_path, "a", table_of([]), table_of([])),), ContractConf(), work)


@pytest.mark.parametrize(
    "vocab", [{str(n): n for n in range(9)}, [[str(n), 0.5] for n in range(9)]], ids=["bpe", "unigram"]
)
def test_tokens_keep_the_contract_or_are_refused(tmp_path: Path, vocab: object) -> None:
    root = tmp_path / "tokenizer"
    (root / "content").mkdir(parents=True)
    held = {"model": {"vocab": vocab}, "added_tokens": [{"id": 9, "content": "x"}]}
    (root / "content" / "tokenizer.json").write_text(json.dumps(held))
    tokenizer = artifact(root, "train_tokenizer")
    for part in ("train", "valid"):
        write_tokens(tmp_path / "good" / "content" / part, [[1, 2], [3]])
        write_tokens(tmp_path / "bad" / "content" / part, [[1, 11]])
    good, bad = (artifact(tmp_path / name, "tokenize_shard", name) for name in ("good", "bad"))
    stats = check_tokens.function((good,), tokenizer, ContractConf(), work_in(tmp_path / "1"))
    assert stats["warnings"] == [] and stats["corpus"]["train_tokens"] == 5
    with pytest.raises(DataError, match=r"'beyond_vocabulary'.*2 of 4 rows \(1, 1\) in shard bad train, document 0"):
        check_tokens.function((good, bad), tokenizer, ContractConf(), work_in(tmp_path / "2"))


def test_the_pass_the_file_and_the_document_of_tokens_that_break_the_contract_are_named(tmp_path: Path) -> None:
    root = tmp_path / "tokenizer"
    (root / "content").mkdir(parents=True)
    (root / "content" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {str(n): n for n in range(9)}}}))
    for name in ("train", "valid", "pass-2/train", "pass-2/valid"):
        ends = [[1, 2], [3], [4, 5, 6, 11] if name == "pass-2/train" else [4]]
        write_tokens(tmp_path / "a-000" / "content" / name, ends)
    whole = artifact(tmp_path / "a-000", "tokenize_shard", "a-000")
    tokens = (whole, replace(whole, part_name="pass-2"))
    with pytest.raises(DataError, match=r"1 of 4 rows \(1\) in shard a-000 pass-2 train, document 2 of tokens\.bin"):
        check_tokens.function(tokens, artifact(root, "train_tokenizer"), ContractConf(), work_in(tmp_path / "work"))
