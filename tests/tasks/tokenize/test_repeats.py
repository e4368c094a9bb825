"""What is seen more than once is chosen by the size of its cluster, and is the very tokens of the original."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.tokenize import TokenizerConf, UpsampleConf
from tasks.core.artifact import Artifact, hash_file
from tasks.core.errors import ArtifactError
from tasks.core.workdir import Workdir
from tasks.formats.tokens import TokenFile
from tasks.tokenize.repeats import times_of, write_repeats
from tasks.tokenize.shards import PARTS, load, write_part
from tasks.tokenize.steps import repeat_shard
from tasks.tokenize.train import train_tokenizer
from tasks.validate import contract

CONF = UpsampleConf(times={2: 2, 4: 3, 100: 1})
EXPECTED = {0: 2, 3: 3, 4: 2, 9: 3}
"""How often the documents that stand in these places are seen."""
SIZES = {0: 2, 3: 99, 4: 3, 7: 100, 9: 4}


@pytest.fixture(scope="module")
def house(tmp_path_factory, write, docstrings) -> Path:
    """Thirty documents and their tokens in train/, the sizes of the clusters of some; one has no duplicate here."""
    house = tmp_path_factory.mktemp("house")
    root = house / "content"
    texts = [*docstrings[:29], ""]
    docs = write(root / "docs/docs.parquet", texts)
    conf = TokenizerConf(vocab_size=600)
    train_tokenizer([docs], root.__truediv__, conf, root)
    (root / "train").mkdir()
    write_part(docs, root / "train", *load(root, conf))
    (root / "clusters").mkdir()
    ids = pl.read_parquet(docs)["id"].to_list()
    sizes = {"id": ["f" * 32, *(ids[n] for n in SIZES)], "size": [7, *SIZES.values()]}
    pl.DataFrame(sizes, schema={"id": pl.String, "size": pl.UInt32}).write_parquet(root / "clusters/sizes.parquet")
    return house


def repeated(house: Path, root: Path, conf: UpsampleConf = CONF) -> tuple[dict[str, object], Workdir]:
    """Run the step on the house's shard."""
    work = Workdir(root)
    work.make()
    parts = [Artifact("step", "key", "digest", {}, "s-000", name, house) for name in ("train", "docs", "clusters")]
    return repeat_shard.function(*parts, conf, work), work


def texts_of(shard: TokenFile) -> list[bytes]:
    return [shard[n].tobytes() for n in range(len(shard))]


def test_a_document_is_in_every_pass_up_to_the_times_that_it_is_seen(house: Path, tmp_path: Path) -> None:
    stats, work = repeated(house, tmp_path / "work")
    once = texts_of(TokenFile.open(house / "content/train"))
    passes = [TokenFile.open(work.content / name / "train") for name in ("pass-2", "pass-3")]
    assert texts_of(passes[0]) == [once[n] for n in (0, 3, 4, 9)] and texts_of(passes[1]) == [once[n] for n in (3, 9)]
    seen = Counter([*once, *texts_of(passes[0]), *texts_of(passes[1])])
    assert seen == Counter({text: EXPECTED.get(n, 1) for n, text in enumerate(once)})
    rows = pl.read_parquet(work.content / "repeated.parquet")
    ids = pl.read_parquet(house / "content/docs/docs.parquet")["id"]
    assert rows.rows() == [(ids[n], SIZES[n], times) for n, times in EXPECTED.items()]
    assert stats == {
        "documents": 6,
        "tokens": sum(len(shard.tokens) for shard in passes),
        "bytes": sum(json.loads((work.content / f"pass-{n}/train/meta.json").read_text())["bytes"] for n in (2, 3)),
        "repeated": 4,
        "times": {"2": 2, "3": 2},
        "once": {"documents": 30, "tokens": len(TokenFile.open(house / "content/train").tokens)},
    }
    lengths = pl.read_parquet(house / "content/docs/docs.parquet")["text"].str.len_bytes()
    assert stats["bytes"] == sum((times - 1) * lengths[n] for n, times in EXPECTED.items())


def test_a_pass_keeps_the_contract_of_tokens_can_be_trained_on_and_holds_out_nothing(
    house: Path, tmp_path: Path
) -> None:
    _, work = repeated(house, tmp_path / "work", UpsampleConf(times={100: 4, 101: 1}))
    parts = [(name, part, work.content / name / part) for name in ("pass-2", "pass-3", "pass-4") for part in PARTS]
    table = contract.tokens(parts, 600)
    wrong = ("torn_bytes", "beyond_vocabulary", "vocabulary_differs", "without_eos", "empty_documents")
    assert table.select(*wrong, "index_off_by", "meta_off_by").sum().row(0) == (0,) * 7
    assert table["documents"].to_list() == [1, 0] * 3
    assert [len(TokenFile.open(folder).index) - 1 for _, _, folder in parts] == [1, 0] * 3


def test_repeating_gives_equal_bytes_anywhere_and_sizes_that_nothing_reaches_give_empty_passes(
    house: Path, tmp_path: Path
) -> None:
    found = []
    for folder in ("once", "another folder/again"):
        stats, work = repeated(house, tmp_path / folder)
        files = sorted(path for path in work.content.rglob("*") if path.is_file())
        found.append((stats, {str(path.relative_to(work.content)): hash_file(path) for path in files}))
    assert found[0] == found[1]
    stats, work = repeated(house, tmp_path / "none", UpsampleConf(times={5000: 2}))
    assert (stats["documents"], stats["tokens"], stats["repeated"], stats["times"]) == (0, 0, 0, {})
    assert len(TokenFile.open(work.content / "pass-2/train")) == 0


def test_tokens_of_other_documents_are_refused(house: Path, tmp_path: Path, write, docstrings) -> None:
    docs = write(tmp_path / "docs.parquet", docstrings[:7])
    with pytest.raises(ArtifactError, match=r"has 30 documents and .* has 7: .*--refresh tokenize_shard"):
        write_repeats(
            house / "content/train", docs, house / "content/clusters/sizes.parquet", tmp_path.__truediv__, CONF
        )


@given(times=st.dictionaries(st.integers(2, 40), st.integers(1, 16), min_size=1), sizes=st.lists(st.integers(1, 50)))
def test_the_largest_size_that_is_reached_decides(times: dict[int, int], sizes: list[int]) -> None:
    expected = [times[max(s for s in times if s <= size)] if size >= min(times) else 1 for size in sizes]
    assert times_of(np.array(sizes, np.int64), times).tolist() == expected
