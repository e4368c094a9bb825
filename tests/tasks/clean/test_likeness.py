import hashlib
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conf.schema.clean import DedupConf
from tasks.clean import likeness
from tasks.clean.likeness import Doubt, Sets, mark
from tasks.clean.load_signatures import COMPARED, take_in
from tasks.clean.signatures import sign
from tasks.clean.union_find import UnionFind
from tasks.formats.documents import PARTS
from tests.tasks.clean.test_signatures import jaccard


@pytest.mark.parametrize("values", [1, 500, 1 << 22])
def test_the_similarity_of_documents_of_several_shards_and_parts_is_that_of_their_shingles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: int
) -> None:
    monkeypatch.setattr(likeness, "_VALUES", values)
    chance, conf, texts = random.Random(1), DedupConf(), {}
    for n in range(60):
        text = " ".join(chance.choice("abcdef") for _ in range(chance.choice([6, 40, 300])))
        texts[hashlib.sha256(str(n).encode()).hexdigest()[:32]] = text
    rows = [(id_, text, PARTS[n % 3], f"s-{n % 4}") for n, (id_, text) in enumerate(texts.items())]
    table = pl.DataFrame(rows, schema=["id", "text", "part", "shard"], orient="row")
    signed, docs = {}, {}
    for shard in ("s-0", "s-1", "s-2", "s-3"):
        signed[shard], docs[shard] = tmp_path / f"{shard}.parquet", (tmp_path / shard).joinpath
        (tmp_path / shard).mkdir()
        own = {part: table.filter(shard=shard, part=part) for part in PARTS}
        pl.concat(sign(some, part, conf) for part, some in own.items()).write_parquet(signed[shard])
        for part, some in own.items():
            some.write_parquet(docs[shard](part))
    (tmp_path / "scratch").mkdir()
    documents, _ = take_in(signed, None, tmp_path / "scratch", conf)
    documents.flags[:] |= COMPARED
    sets = Sets(tmp_path / "scratch")
    sets.fill(documents, docs, tmp_path / "scratch", conf)
    left, right = (np.array([chance.randrange(60) for _ in range(200)], np.uint32) for _ in "lr")
    ordered = [texts[id_] for id_ in sorted(texts)]
    expected = [jaccard(ordered[one], ordered[other]) for one, other in zip(left, right, strict=True)]
    assert sets.similarity(left, right).tolist() == expected and 0 < np.mean(expected) < 1


def test_no_text_is_asked_for_where_every_pair_of_a_cluster_is_settled_by_the_signatures(tmp_path: Path) -> None:
    conf = DedupConf()
    ids = [f"{n:032x}" for n in range(6)]
    words = " ".join(f"w{n}" for n in range(300))
    unlike = [f"{word} " * 9 for word in ("x", "y")]
    texts = [words, f"{words} end", *unlike, words, " ".join(words.split()[:240])]
    table = sign(pl.DataFrame({"id": ids, "text": texts}), "train", conf)

    def marked(some: list[int], edges: list[tuple[int, int]]) -> list[int]:
        folder = tmp_path / str(some)
        folder.mkdir()
        table[some].write_parquet(folder / "s.parquet")
        documents, _ = take_in({"s": folder / "s.parquet"}, None, folder, conf)
        groups = UnionFind(len(some))
        for one, other in edges:
            groups.join(np.array([one], np.uint32), np.array([other], np.uint32))
        mark(documents, groups.flatten(), conf)
        return np.flatnonzero(documents.flags & COMPARED).tolist()

    assert marked([0, 1, 2, 3], [(0, 1)]) == [], "a pair that is alike beyond doubt"
    assert marked([0, 1, 3, 5], [(0, 1), (0, 3)]) == [0, 1, 3], "of three any two may be compared"


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_an_estimate_is_in_doubt_within_four_standard_errors(threshold: float) -> None:
    doubt = Doubt.of(DedupConf(threshold=threshold))
    draws = np.random.default_rng(0).binomial(112, threshold, 100_000) / 112
    assert ((draws < doubt.low) | (draws >= doubt.high)).mean() < 0.0005
