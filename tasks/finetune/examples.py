"""Encoded examples: how training processes get them, and the order in which they are trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conf.schema.finetune import TuneConf
from tasks.formats.tokens import IGNORE

Row = Mapping[str, Any]
"""One example: "input_ids" (token ids), "labels" (one for each token, or one), and what else its kind wants, each a
number or a list of numbers."""
Arrays = tuple[npt.NDArray[Any], ...]
Collate = Callable[[Sequence[Row]], Arrays]
"""Makes arrays of examples, one row each, the labels last; a label IGNORE carries no loss."""

MEGABATCH = 16
"""Batches that are sorted by length together: little padding, and still a random order."""


def write(folder: Path, part: str, rows: Sequence[Row]) -> None:
    """Write examples into a folder, for `read`."""
    from safetensors.numpy import save_file

    arrays: dict[str, npt.NDArray[Any]] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        if isinstance(values[0], Sequence):
            arrays[f"{name}.ends"] = np.cumsum([len(value) for value in values], dtype=np.int64)
            values = [item for value in values for item in value]
        arrays[name] = np.asarray(values)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(arrays, folder / f"{part}.safetensors")


def read(folder: Path, part: str) -> list[Row]:
    """The examples that `write` wrote."""
    from safetensors.numpy import load_file

    arrays = load_file(folder / f"{part}.safetensors")
    columns = {}
    for name, values in arrays.items():
        if not name.endswith(".ends"):
            ends = arrays.get(f"{name}.ends")
            columns[name] = values.tolist() if ends is None else [one.tolist() for one in np.split(values, ends[:-1])]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def order(lengths: Sequence[int], conf: TuneConf) -> list[int]:
    """The order of examples over all epochs: shuffled, batches of like length, a short batch last.

    A pure function of its arguments: the loader's whole state is the number of steps done.
    """
    size = conf.batch_size
    shuffled = np.concatenate([_rng(conf, epoch).permutation(len(lengths)) for epoch in range(conf.epochs)])
    whole = len(shuffled) - len(shuffled) % size
    batches: list[list[int]] = []
    for start in range(0, whole, size * MEGABATCH):
        group = sorted(shuffled[start : min(start + size * MEGABATCH, whole)].tolist(), key=lambda i: lengths[i])
        parts = [group[at : at + size] for at in range(0, len(group), size)]
        batches += [parts[n] for n in _rng(conf, conf.epochs, start).permutation(len(parts))]
    return [i for batch in [*batches, shuffled[whole:].tolist()] for i in batch]


def _rng(conf: TuneConf, *path: int) -> np.random.Generator:
    return np.random.default_rng((conf.seed, *path))


@dataclass
class Examples:
    """What a model is tuned on, as the training loop reads it."""

    train: Sequence[Row]
    """In the order in which they are trained on, each as often as there are epochs."""
    valid: Sequence[Row]
    collate: Collate
    batch_size: int

    def share(self, step: int, rank: int, world: int) -> Arrays:
        """What process `rank` of `world` computes of the batch of step `step` (from 0)."""
        return self._part(self.train[step * self.batch_size : (step + 1) * self.batch_size], rank, world)

    def held_out(self, rank: int, world: int) -> Arrays:
        """Its share of the valid part: equally many on each process, those to spare without labels."""
        return self._part(self.valid, rank, world)

    def _part(self, rows: Sequence[Row], rank: int, world: int) -> Arrays:
        width = -(-len(rows) // world)
        mine = rows[rank * width : (rank + 1) * width]
        arrays = self.collate([*mine, *[rows[0]] * (width - len(mine))])
        arrays[-1][len(mine) :] = IGNORE
        return arrays


def next_tokens(pad: int) -> Collate:
    """Collates for a causal model: ids and labels [examples, longest], a label being the token that comes next.

    Filled up on the right, which needs no mask: no token looks to its right."""

    def collate(rows: Sequence[Row]) -> Arrays:
        shape = (len(rows), max(len(row["input_ids"]) for row in rows))
        ids, labels = np.full(shape, pad, np.int64), np.full(shape, IGNORE, np.int64)
        for number, row in enumerate(rows):
            size = len(row["input_ids"])
            ids[number, :size], labels[number, : size - 1] = row["input_ids"], row["labels"][1:]
        return ids, labels

    return collate


def whole_texts(pad: int) -> Collate:
    """Collates for a model that says one thing of a text: ids and mask (1 for text) [examples, longest], filled up on
    the right, and labels [examples]."""

    def collate(rows: Sequence[Row]) -> Arrays:
        shape = (len(rows), max(len(row["input_ids"]) for row in rows))
        ids, mask = np.full(shape, pad, np.int64), np.zeros(shape, np.int64)
        for number, row in enumerate(rows):
            size = len(row["input_ids"])
            ids[number, :size], mask[number, :size] = row["input_ids"], 1
        return ids, mask, np.asarray([row["labels"] for row in rows])

    return collate


def each_token(pad: int) -> Collate:
    """Collates for a model that says one thing of each token: ids, mask (1 for text) and labels [examples, longest],
    filled up on the right."""

    def collate(rows: Sequence[Row]) -> Arrays:
        ids, mask, _ = whole_texts(pad)([{**row, "labels": 0} for row in rows])
        labels = np.full(ids.shape, IGNORE, np.int64)
        for number, row in enumerate(rows):
            labels[number, : len(row["labels"])] = row["labels"]
        return ids, mask, labels

    return collate


SHOWN, LONGEST = 3, 400
"""Examples that are shown before training, and characters of each."""


def shown(rows: Sequence[Row], decode: Callable[[list[int]], str]) -> Iterator[str]:
    """The first examples as the model sees them, what carries a loss between « and », in one line each."""
    for number, row in enumerate(rows[:SHOWN], 1):
        pairs = zip(row["input_ids"], [IGNORE, *row["labels"][1:]], strict=True)
        parts = [
            (carries, decode([token for token, _ in part]))
            for carries, part in groupby(pairs, key=lambda pair: pair[1] != IGNORE)
        ]
        text = "".join(f"«{part}»" if carries else part for carries, part in parts)
        more = f" … ({len(text) - LONGEST:,} characters more)" if len(text) > LONGEST else ""
        yield f"example {number}, what carries a loss between « and »: {text[:LONGEST]!r}{more}"
