from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conf.schema.pretrain import PretrainConf, SegmentConf
from tasks.formats.tokens import IGNORE
from tasks.pretrain.data.batches import Source, open_sources
from tasks.pretrain.trainer.setup import order_of
from tasks.pretrain.trainer.skipped_batches import in_words, samples, sources_of
from tests.tasks.pretrain.conftest import LLAMA, write_shard

WIDTH = 16


def write_told_apart(folder: Path, lengths: list[int], first: int) -> Path:
    """Documents of these lengths, each of one token of its own, counted from `first`."""
    write_shard(folder, lengths)
    tokens = np.concatenate([np.append(np.full(length - 1, first + n), 0) for n, length in enumerate(lengths)])
    tokens.astype("<u2").tofile(folder / "tokens.bin")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    lengths = [[5, 9, 40, 3, 2, 16, 33], [20, 7, 7, 100]]
    return [write_told_apart(tmp_path / f"{n}" / "train", part, 1 + 20 * n) for n, part in enumerate(lengths)]


@pytest.mark.parametrize("packing", ["concat", "best_fit"])
def test_the_documents_of_a_block_are_those_whose_tokens_are_its_labels(folders: list[Path], packing: str) -> None:
    source: Source = open_sources({"all": folders}, WIDTH, packing)["all"]
    seen = set()
    for block in range(source.blocks):
        folder, inside, documents = source.whose(block)
        ids, _, labels = source.batch([block])
        assert 0 <= inside < source.blocks
        first = 1 + 20 * folders.index(folder)
        labelled = {int(token) - first for token in labels[labels != IGNORE] if token}
        held = {int(token) - first for token in ids[0] if token}
        assert labelled <= set(documents.tolist()) <= labelled | held | {int(documents[0])}
        seen |= {(str(folder), number) for number in documents.tolist()}
    assert len(seen) == 11, "every document is in some block"


def test_a_steps_samples_are_those_of_the_whole_batch_by_source_and_document(folders: list[Path]) -> None:
    train = {"news": [str(folders[0])], "talk": [str(folders[1])]}
    segment = SegmentConf(tokens=640, batch_tokens=64, seq_len=WIDTH, mixture={"news": 3.0, "talk": 1.0})
    sources = open_sources({name: [Path(paths[0])] for name, paths in train.items()}, WIDTH)
    conf = PretrainConf(model=LLAMA, segment=segment)
    found = samples(order_of(sources, conf), list(sources.values()), [5, 6], sources_of(train))
    assert [sample["source"] for sample in found] == ["news", "news", "news", "talk"] * 2
    assert json.loads(json.dumps(found)) == found
    words = in_words(found)
    assert words.startswith("news block ") and words.endswith(" and 4 more")
