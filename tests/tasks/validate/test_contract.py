"""The rows that the contracts are checked on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tasks.validate import contract
from tests.tasks.validate.conftest import docs_in, table_of

EOS = 0


def write_tokens(folder: Path, documents: list[list[int]], **meta: Any) -> Path:
    """Token files of documents, each ended by the eos id; `meta` overrides what meta.json says."""
    folder.mkdir(parents=True, exist_ok=True)
    ended = [[*document, EOS] for document in documents]
    ids = [token for document in ended for token in document]
    np.array(ids, "<u2").tofile(folder / "tokens.bin")
    np.save(folder / "index.npy", np.cumsum([0, *map(len, ended)], dtype=np.int64))
    facts = {"dtype": "uint16", "vocab_size": 10, "eos_id": EOS, "documents": len(documents), "tokens": len(ids)}
    (folder / "meta.json").write_text(json.dumps(facts | meta))
    return folder


def faults(folder: Path, **options: Any) -> dict[str, int]:
    row = contract.tokens([("own-000", "train", folder)], 10, **options).row(0, named=True)
    counted = ("shard", "part", "documents", "tokens", "largest_id")
    return {name: value for name, value in row.items() if name not in counted and value}


def test_whole_token_files_have_no_fault_however_small_the_chunks(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, [[1, 2, 9], [3]])
    assert faults(folder) == faults(folder, chunk=1) == {}
    row = contract.tokens([("own-000", "train", folder)], 10).row(0, named=True)
    assert (row["documents"], row["tokens"], row["largest_id"]) == (2, 6, 9)


def test_an_empty_part_has_no_fault(tmp_path: Path) -> None:
    assert faults(write_tokens(tmp_path, [])) == {}


def test_each_fault_of_token_files_is_counted_by_its_name(tmp_path: Path) -> None:
    beyond = write_tokens(tmp_path / "1", [[1, 10], [12]])
    assert faults(beyond) == {"beyond_vocabulary": 2}
    other = write_tokens(tmp_path / "2", [[1], [2]], vocab_size=11, tokens=5)
    assert faults(other) == {"vocabulary_differs": 1, "meta_off_by": 1}
    without = write_tokens(tmp_path / "3", [[1], [2]], eos_id=7)
    assert faults(without) == {"without_eos": 2}
    torn = write_tokens(tmp_path / "4", [[1], [2]])
    (torn / "tokens.bin").write_bytes((torn / "tokens.bin").read_bytes()[:-3])
    assert {"torn_bytes", "index_off_by", "without_eos"} <= set(faults(torn))
    empty = write_tokens(tmp_path / "5", [[1], [2]])
    np.save(empty / "index.npy", np.array([0, 2, 2, 4], np.int64))
    assert faults(empty)["empty_documents"] == 1


def test_ids_repeated_within_and_across_tables_are_counted(tmp_path: Path) -> None:
    one = docs_in(tmp_path, "a", table_of(["x", "y", "z"], id=["1", "1", "2"]), "train")
    two = docs_in(tmp_path, "b", table_of(["x", "y"], id=["2", "3"]), "train")
    found = [(docs.shard or "", "train", docs / "train" / "docs.parquet") for docs in (one, two)]
    rows = contract.documents(found).to_dicts()
    assert [(row["duplicate_ids"], row["repeated_ids"]) for row in rows] == [(1, 1), (0, 1)]
    tiny = contract._repeated([path for *_, path in found], found, bucket=1)
    assert tiny == [1, 1]


def test_a_missing_column_counts_as_null_in_every_row(tmp_path: Path) -> None:
    docs = docs_in(tmp_path, "a", table_of(["x", "y"]).drop("text"), "train")
    row = contract.documents([("a", "train", docs / "train" / "docs.parquet")]).row(0, named=True)
    assert (row["null_text"], row["null_id"], row["rows"]) == (2, 0, 2)
    assert "text" not in row["schema"]
