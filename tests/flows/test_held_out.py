"""What is held out, and what is like it, never reaches the training side, whatever it looks like there."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from conf.compose import compose
from conf.schema.clean import SplitConf
from flows.data import prepare
from tasks.clean.split import part_of
from tasks.collect.rows import as_text
from tasks.core.step import interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tests.in_process import InProcess
from tests.pipeline_process import WORDS

SPLIT = SplitConf(test=0.1, valid=0.1)
RECIPE = """
extends: text
data:
  sources:
    mine: {{kind: files, paths: ["{0}/mine"]}}
    copies: {{kind: files, paths: ["{0}/copies"]}}
    labelled: {{kind: files, paths: ["{0}/labelled"], label: label}}
    talks: {{kind: files, paths: ["{0}/talks"], messages: messages}}
  shard_mb: 0.02
  split: {{test: 0.1, valid: 0.1}}
tokenizer: {{vocab_size: 400}}
"""
PARTS = ("train", "valid")
VALIDATION = ("profile_shard", "validate_corpus", "check_losses", "check_documents", "check_tokens")


def lines(draw: random.Random) -> list[str]:
    """Lines of words by chance: no two documents have one in common."""
    words = WORDS.split()
    return [f"The {' '.join(draw.choices(words, k=10))} of it." for _ in range(8)]


def talk(text: list[str]) -> list[dict[str, str]]:
    return [{"role": "user", "content": "\n".join(text[:3])}, {"role": "assistant", "content": "\n".join(text[3:])}]


def likes(text: list[str], draw: random.Random) -> Iterator[list[str]]:
    """Near-duplicates without end: one word is another."""
    while True:
        place, found = draw.randrange(len(text)), [*text]
        found[place] = found[place].replace(" of it.", f" of {draw.randrange(10**6)}.")
        yield found


def test_nothing_like_a_held_out_document_is_trained_on_by_any_path(tmp_path: Path) -> None:
    draw = random.Random(0)
    texts = [lines(draw) for _ in range(150)]
    held = [text for text in texts if part_of("\n".join(text), SPLIT) == "test"]
    assert len(held) > 8

    def in_train(text: list[str], written: Any) -> list[str]:
        return next(like for like in likes(text, draw) if part_of(written(like), SPLIT) == "train")

    rows: dict[str, list[dict[str, Any]]] = {
        "mine": [{"text": "\n".join(text)} for text in texts],
        "copies": [{"text": "\n".join(in_train(text, "\n".join))} for text in held],
        "labelled": [{"text": "\n".join(in_train(text, "\n".join)), "label": "a"} for text in held],
        "talks": [{"messages": talk(in_train(text, lambda like: as_text(talk(like))))} for text in held],
    }
    rows["labelled"] += [{"text": "\n".join(lines(draw)), "label": "b"} for _ in range(20)]
    rows["talks"] += [{"messages": talk(lines(draw))} for _ in range(20)]
    for source, found in rows.items():
        (tmp_path / source).mkdir()
        draw.shuffle(found)
        for n in range(0, len(found), 40):
            (tmp_path / source / f"{n}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found[n : n + 40]))
    (tmp_path / "one.yaml").write_text(RECIPE.format(tmp_path))
    here = InProcess(Store(LocalBackend(tmp_path / "store")), skip=VALIDATION)
    with interpreted_by(here):
        data = prepare(compose(str(tmp_path / "one.yaml")))

    shards = [here.bring(shard) for shard in data.documents]
    left = pl.concat([pl.read_parquet(shard / part / "docs.parquet") for shard in shards for part in PARTS])
    frozen = {line for text in held for line in text}
    assert not [text for text in left["text"] if any(line in text for line in frozen)]
    # What was not like anything held out is there, on every path.
    assert left["label"].drop_nulls().to_list() == ["b"] * left["label"].count() and left["label"].count() > 10
    assert left["messages"].count() > 10 and (left["source"] == "mine").sum() > 100
    assert len(shards) > 6

    # And in the tokens.
    tokenizer = Tokenizer.from_file(str(here.bring(data.tokenizer) / "tokenizer.json"))
    read = "".join(
        tokenizer.decode(np.fromfile(here.bring(tokens) / part / "tokens.bin", "<u2").tolist())
        for tokens in data.tokens
        for part in PARTS
    )
    assert not [line for line in frozen if line in read] and left["text"][0].splitlines()[0] in read

    # Without the search for duplicates and overlaps they would have been: by their own hash all are for training.
    split = [here.store.artifact(manifest) for manifest in here.store.manifests("split_shard")]
    ways = pl.concat([pl.read_parquet(shard / "train/docs.parquet") for shard in split])
    planted = ways.filter(pl.col("text").map_elements(lambda t: any(line in t for line in frozen), pl.Boolean))
    assert dict(planted["source"].value_counts().iter_rows()) == dict.fromkeys(rows.keys() - {"mine"}, len(held))
