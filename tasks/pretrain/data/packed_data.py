"""Packed blocks of tokens, as the training loop reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np

from conf.schema.pretrain import SegmentConf
from tasks.formats.tokens import IGNORE
from tasks.pretrain.data.batches import Order, Source
from tasks.pretrain.data.objective import Inputs, Objective

Picks = Sequence[tuple[int, int]]
"""(source, block) of sequences."""


@dataclass
class PackedData:
    """What a segment is trained on, and the blocks of valid tokens that it is judged by."""

    segment: SegmentConf
    sources: Sequence[Source]
    order: Order
    objective: Objective
    valid: Sequence[Source] = ()
    valid_picks: Picks = ()

    def share(self, step: int, rank: int, world: int) -> Inputs:
        """What process `rank` of `world` computes of the batch of step `step` (from 0)."""
        first = self.segment.units(step)
        picks = self.order.share(range(first, self.segment.units(step + 1)), rank, world)
        return self.read(picks, self.sources, first * self.segment.sequences + rank * len(picks))

    def held_out(self, rank: int, world: int) -> Inputs:
        """Its share of the valid blocks: equally many on each process, those to spare without labels."""
        width = -(-len(self.valid_picks) // world)
        mine = list(self.valid_picks[rank * width : (rank + 1) * width])
        rows = self.read(mine + [self.valid_picks[0]] * (width - len(mine)), self.valid)
        rows[-1][len(mine) :] = IGNORE
        return rows

    def some(self, size: int) -> Inputs:
        """`size` sequences of the first batch, each perhaps more than once."""
        return self.read((self.order.batch(0) * size)[:size], self.sources, 0)

    def read(self, picks: Picks, sources: Sequence[Source], first: int | None = None) -> Inputs:
        """What the objective makes of the blocks picked, those of one source in a row read together; `first` is the
        number in the run of the first of them, None for held-out ones."""
        runs = groupby(picks, key=itemgetter(0))
        found = [sources[source].batch([block for _, block in run]) for source, run in runs]
        ids, positions, labels = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
        return self.objective.inputs((ids, positions, labels), picks, first)
