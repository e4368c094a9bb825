"""What a network is trained to do with a batch of packed blocks: the arrays that it gets, the labels last.

The noise of a sequence is a pure function of the seed, its source and block, and its number in the run. So a run that
was resumed, or one with more processes or smaller passes, hides the same words. Held-out sequences have a noise that
depends on source and block only: their losses compare from step to step and from run to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conf.schema.model import NativeConf, NetworkConf, NoiseConf
from tasks.formats.tokens import IGNORE, Ints
from tasks.pretrain.data import vocabulary
from tasks.pretrain.data.batches import Words, mix
from tasks.pretrain.data.packing import Batch
from tasks.pretrain.data.vocabulary import Flags, Vocabulary

Inputs = tuple[Ints, ...]
Floats = npt.NDArray[np.float64]

LONGEST = 8
"""Tokens of a word; of a longer run, as in languages that write no spaces, so many are a word."""
ROUND = 8
"""Sequences of tokens hidden and kept are as wide as the longest one, rounded up to a multiple of this."""


def keys(seed: int, picks: Sequence[tuple[int, int]], first: int | None) -> Words:
    """What the noise of each sequence is drawn from: of (source, block), and of its number in the run, counted from
    `first`; None for held-out sequences, whose noise is always the same."""
    source, block = np.array(picks, np.uint64).reshape(-1, 2).T
    number = np.arange(len(block), dtype=np.uint64) + np.uint64(first or 0)
    given = [source, block] if first is None else [np.full_like(block, seed), source, block, number]
    found = np.zeros(len(block), np.uint64)
    for part in given:
        found = mix(found ^ part, len(given))
    return found


def draws(key: Words, width: int, stream: int) -> Floats:
    """Uniform numbers in [0, 1) [len(key), width], other ones in each stream."""
    places = np.arange(width, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
    found: Floats = (mix(key[:, None] + places, stream) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found


class Causal:
    """The next token: blocks as they are, ids, positions and labels [sequences, seq_len]."""

    pad: int | None = None
    """Nothing has to be filled up."""

    def inputs(self, batch: Batch, picks: Sequence[tuple[int, int]], first: int | None) -> Inputs:
        """`batch` holds the blocks `picks`, (source, block) of each; `first`: see `keys`."""
        return batch


@dataclass(frozen=True)
class Denoising:
    """What the two objectives share that restore hidden text."""

    known: Vocabulary
    noise: NoiseConf
    seed: int

    @property
    def pad(self) -> int | None:
        """The token that fills up; `Vocabulary.check` has seen that there is one."""
        return self.known.pad


class Masked(Denoising):
    """Hidden words, whole: ids, positions and labels [sequences, seq_len], a label only where a token is hidden.

    Of the words in a block a share is hidden, each word as likely as any other; most of their tokens are replaced by
    the mask token, some by a random one, some stay (Devlin et al. 2019; whole words since their update of May 2019).
    """

    def inputs(self, batch: Batch, picks: Sequence[tuple[int, int]], first: int | None) -> Inputs:
        """`batch` holds the blocks `picks`, (source, block) of each; `first`: see `keys`."""
        ids, positions, _ = batch
        key, width = keys(self.seed, picks, first), ids.shape[1]
        hidden = self._hidden(ids, positions, draws(key, width, 0))
        how, ordinary = draws(key, width, 1), self.known.ordinary
        other = ordinary[(draws(key, width, 2) * len(ordinary)).astype(np.int64)]
        shown = np.where(how < self.noise.masked, np.int64(self.known.mask or 0), other)
        shown = np.where(how < self.noise.masked + self.noise.random, shown, ids)
        return np.where(hidden, shown, ids), positions, np.where(hidden, ids, IGNORE)

    def _hidden(self, ids: Ints, positions: Ints, drawn: Floats) -> Flags:
        special = self.known.special[ids]
        first, running = word_starts(ids, positions, self.known), np.arange(ids.shape[1])
        start = np.maximum.accumulate(np.where(first, running, 0), axis=1)
        drawn = np.where(first & ~special, drawn, 2.0)
        count = (drawn < 2.0).sum(axis=1)
        wanted = np.where(count > 0, np.maximum(1, np.rint(self.noise.share * count)), 0).astype(np.int64)
        bound = np.take_along_axis(np.sort(drawn, axis=1), np.maximum(wanted - 1, 0)[:, None], axis=1)
        chosen = (drawn <= bound) & (drawn < 2.0)
        hidden: Flags = np.take_along_axis(chosen, start, axis=1) & ~special
        return hidden


def word_starts(ids: Ints, positions: Ints, known: Vocabulary) -> Flags:
    """Whether a word begins at a place [sequences, seq_len]; special tokens are words by themselves."""
    special, running = known.special[ids], np.arange(ids.shape[1])
    found = special | known.begins[ids] | (positions == 0)
    found[:, 1:] |= (special | known.ends[ids])[:, :-1]
    inside = running - np.maximum.accumulate(np.where(found, running, 0), axis=1)
    starts: Flags = found | (inside % LONGEST == 0)
    return starts


class Span(Denoising):
    """Hidden spans (Raffel et al. 2020): what the encoder reads and the number of each token's document
    [sequences, width], the same of the decoder [sequences, other width], and the decoder's labels.

    Each document has a noise of its own. Of a document [eos, d1 … dn] in a block the encoder reads d1 … dn with a
    sentinel for each hidden span, and eos; the decoder writes each sentinel with what it stands for, and eos. Padding
    is of document -1. A document with nothing hidden, which happens to the short ones, is left out.
    """

    def inputs(self, batch: Batch, picks: Sequence[tuple[int, int]], first: int | None) -> Inputs:
        """`batch` holds the blocks `picks`, (source, block) of each; `first`: see `keys`."""
        ids, positions, _ = batch
        key, (count, width) = keys(self.seed, picks, first), ids.shape
        document = np.cumsum(positions.ravel() == 0) - 1
        text = np.flatnonzero(ids.ravel() != self.known.eos)
        closed = np.zeros(document[-1] + 1, np.bool_)
        closed[document[ids.ravel() == self.known.eos]] = True
        lengths = np.bincount(document[text], minlength=len(closed))
        chosen = np.flatnonzero(positions.ravel() == 0)
        hidden, spans = self._amounts(lengths, draws(key, width, 0).ravel()[chosen])
        text = text[spans[document[text]] > 0]
        where = Places(document[text], hidden, lengths)
        starts, sizes = where.spans(spans, *(draws(key, width, stream).ravel()[text] for stream in (1, 2)))
        number = np.arange(len(starts)) - np.repeat(np.cumsum(spans) - spans, spans)
        noise, opening = np.zeros(len(text) + 1, np.int64), np.full(len(text), -1, np.int64)
        noise[starts] += 1
        noise[starts + sizes] -= 1
        away = np.cumsum(noise[:-1]) > 0
        opening[starts] = self.known.sentinels[number]
        opens, last = opening >= 0, where.inside == lengths[where.document] - 1
        tokens, ends = ids.ravel()[text], np.full(len(text), self.known.eos, np.int64)
        rows, pad = text // width, int(self.known.pad or 0)
        read = gather(
            [(np.where(opens, opening, tokens), ~away | opens), (ends, last & closed[where.document])],
            rows, where.document, count, pad,
        )  # fmt: skip
        written = gather([(opening, opens), (tokens, away), (ends, last)], rows, where.document, count, IGNORE)
        return *read, *shifted(*written, pad), written[0]

    def _amounts(self, lengths: Ints, drawn: Floats) -> tuple[Ints, Ints]:
        """Hidden tokens and spans of documents: the share exactly on average, at least one token of each kept."""
        hidden = np.minimum(np.floor(lengths * self.noise.share + drawn).astype(np.int64), np.maximum(lengths - 1, 0))
        spans = np.where(hidden > 0, np.maximum(1, np.rint(hidden / self.noise.span)), 0).astype(np.int64)
        spans = np.minimum(spans, np.minimum(lengths - hidden + 1, len(self.known.sentinels)))
        return np.where(spans > 0, hidden, 0), spans


@dataclass(frozen=True)
class Places:
    """Tokens of documents one after another: the document of each, and how many of each document are to be hidden."""

    document: Ints
    hidden: Ints
    lengths: Ints

    @cached_property
    def begins(self) -> Ints:
        """Where each document begins among the tokens."""
        there = np.bincount(self.document, minlength=len(self.lengths))
        return np.cumsum(there) - there

    @cached_property
    def inside(self) -> Ints:
        """The place of each token in its document."""
        return np.arange(len(self.document)) - self.begins[self.document]

    def spans(self, spans: Ints, places: Floats, cuts: Floats) -> tuple[Ints, Ints]:
        """The start and size of each span, in order; every way to lay out a document's spans is as likely as another.

        They stand at different ones of the gaps before, between and after the kept tokens, and share the hidden tokens
        by cutting them between two: both are drawn by the numbers `places` and `cuts` of the tokens.
        """
        inside, hidden = self.inside, self.hidden[self.document]
        kept = self.lengths[self.document] - hidden
        gaps = self._least(places, inside <= kept, spans)
        first = inside == 0
        parts = first | self._least(cuts, (inside < hidden) & ~first, spans - 1)
        before = inside[parts]
        following = np.append(before[1:], 0)
        size = np.where(following > 0, following, hidden[parts]) - before
        starts: Ints = np.flatnonzero(gaps) + before
        return starts, size

    def _least(self, drawn: Floats, candidates: Flags, counts: Ints) -> Flags:
        """The candidates with the `counts[d]` least numbers of each document d."""
        found = np.flatnonzero(candidates)
        document = self.document[found]
        # One sort for all documents; halved, a number cannot be rounded up to that of the next document.
        ordered = found[np.argsort(document + drawn[found] / 2, kind="stable")]
        there = np.bincount(document, minlength=len(counts))
        rank = np.arange(len(found)) - np.repeat(np.cumsum(there) - there, there)
        chosen = np.zeros(len(candidates), np.bool_)
        chosen[ordered[rank < counts[document]]] = True
        return chosen


def gather(
    columns: Sequence[tuple[Ints, Flags]], rows: Ints, documents: Ints, count: int, filler: int
) -> tuple[Ints, Ints]:
    """The values that are flagged, token after token and for each column after column, in `count` rows filled up at
    their ends; and the documents that they are of, -1 where there is no value."""
    flags = np.stack([flag for _, flag in columns], axis=1)
    values = np.stack([value for value, _ in columns], axis=1)[flags]
    many = flags.sum(axis=1)
    row, document = np.repeat(rows, many), np.repeat(documents, many)
    filled = np.bincount(row, minlength=count)
    width = max(ROUND, -(-int(filled.max()) // ROUND) * ROUND)
    column = np.arange(len(row)) - np.repeat(np.cumsum(filled) - filled, filled)
    found, of = np.full((count, width), filler, np.int64), np.full((count, width), -1, np.int64)
    found[row, column], of[row, column] = values, document
    return found, of


def shifted(labels: Ints, documents: Ints, start: int) -> tuple[Ints, Ints]:
    """What a decoder reads before it writes `labels`, the token `start` first in each document; and the documents."""
    before = np.full_like(labels, start)
    same = documents[:, 1:] == documents[:, :-1]
    before[:, 1:] = np.where(same & (documents[:, 1:] >= 0), labels[:, :-1], start)
    return before, documents


Objective = Causal | Masked | Span


def choose(conf: NetworkConf, seed: int, seq_len: int, tokenizer: Path, size: int, eos: int) -> Objective:
    """The objective of a model over the `size` tokens of the tokenizer in a folder.

    Raises `ConfigError` if the tokenizer lacks a token that it needs.
    """
    if isinstance(conf, NativeConf) or conf.resolved_objective == "causal":
        return Causal()
    known = vocabulary.read(tokenizer, size, eos)
    known.check(conf, seq_len)
    return (Masked if conf.resolved_objective == "masked" else Span)(known, conf.noise, seed)
