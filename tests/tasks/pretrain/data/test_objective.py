from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.model import NoiseConf
from tasks.formats.tokens import IGNORE
from tasks.pretrain.data.objective import Causal, Masked, Span, word_starts
from tasks.pretrain.data.packing import Batch
from tasks.pretrain.data.vocabulary import Vocabulary

SIZE, EOS, PAD, MASK, FIRST = 200, 0, 1, 2, 60
"""Ids up to FIRST are special; of the ordinary ones the even begin a word."""


def vocabulary(sentinels: int = 50) -> Vocabulary:
    tokens = np.arange(SIZE)
    special = tokens < FIRST
    begins = (tokens % 2 == 0) & ~special
    return Vocabulary(begins, np.zeros(SIZE, bool), special, EOS, PAD, MASK, np.arange(3, 3 + sentinels))


def blocks(count: int, width: int, seed: int, ends: float = 0.05) -> Batch:
    """Packed blocks of random tokens; a document ends at a place with the probability `ends`."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(FIRST, SIZE, size=(count, width))
    ids[rng.random(ids.shape) < ends] = EOS
    starts = np.union1d(np.flatnonzero(ids.ravel() == EOS), np.arange(0, ids.size, width))
    positions = np.arange(ids.size) - np.repeat(starts, np.diff(starts, append=ids.size))
    return ids, positions.reshape(ids.shape), np.zeros_like(ids)


def picks(count: int) -> list[tuple[int, int]]:
    return [(n % 3, 7 * n) for n in range(count)]


BATCHES = st.builds(
    blocks, st.integers(1, 5), st.integers(2, 60), st.integers(0, 99), st.sampled_from([0.0, 0.05, 0.5, 1.0])
)
NOISES = st.builds(NoiseConf, share=st.sampled_from([0.01, 0.15, 0.5, 0.95]), span=st.sampled_from([1.0, 3.0, 7.5]))


def test_a_causal_model_gets_blocks_as_they_are() -> None:
    batch = blocks(2, 8, 0)
    assert Causal().inputs(batch, picks(2), 0) is batch


@given(batch=BATCHES, noise=NOISES)
def test_words_are_hidden_whole_and_as_many_as_asked_for(batch: Batch, noise: NoiseConf) -> None:
    ids, positions, _ = batch
    shown, places, labels = Masked(vocabulary(), noise, 0).inputs(batch, picks(len(ids)), 0)
    hidden = labels != IGNORE
    assert np.array_equal(places, positions)
    assert np.array_equal(labels[hidden], ids[hidden]) and np.array_equal(shown[~hidden], ids[~hidden])
    assert (ids[hidden] >= FIRST).all() and ((shown[hidden] == MASK) | (shown[hidden] >= FIRST)).all()
    starts = word_starts(ids, positions, vocabulary())
    for row in range(len(ids)):
        words = [word for word in np.split(np.arange(ids.shape[1]), np.flatnonzero(starts[row])[1:])]
        words = [word for word in words if ids[row, word[0]] >= FIRST]
        assert all(hidden[row, word].all() or not hidden[row, word].any() for word in words)
        wanted = max(1, round(noise.share * len(words))) if words else 0
        assert sum(hidden[row, word[0]] for word in words) == wanted


def test_of_hidden_tokens_80_percent_are_masked_10_random_and_10_shown() -> None:
    batch = blocks(400, 256, 1)
    shown, _, labels = Masked(vocabulary(), NoiseConf(), 0).inputs(batch, picks(400), 0)
    hidden = labels != IGNORE
    total = hidden.sum()
    assert abs(total / (batch[0] >= FIRST).sum() - 0.15) < 0.003
    assert abs((shown[hidden] == MASK).mean() - 0.8) < 0.01
    other = hidden & (shown != MASK) & (shown != labels)
    assert abs(other.sum() / total - 0.1) < 0.01
    counts = np.bincount(shown[other], minlength=SIZE)[FIRST:]
    assert counts.min() > 0 and counts.std() / counts.mean() < 2 / np.sqrt(counts.mean())


def test_every_word_is_as_likely_to_be_hidden_wherever_it_stands() -> None:
    ids, positions, labels = (np.repeat(part, 4000, axis=0) for part in blocks(1, 20, 3, ends=0.0))
    found = Masked(vocabulary(), NoiseConf(share=0.3), 0).inputs((ids, positions, labels), [(0, 0)] * 4000, 0)[2]
    words = np.flatnonzero(word_starts(ids, positions, vocabulary())[0])
    rates = (found[:, words] != IGNORE).mean(axis=0)
    assert rates.max() - rates.min() < 0.06


def documents(ids: np.ndarray, of: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """The tokens of each (row, document)."""
    found: dict[tuple[int, int], list[int]] = {}
    for row in range(len(ids)):
        for token, document in zip(ids[row].tolist(), of[row].tolist(), strict=True):
            if document >= 0:
                found.setdefault((row, document), []).append(token)
    return found


@given(batch=BATCHES, noise=NOISES)
def test_what_the_decoder_writes_put_in_for_the_sentinels_is_the_text(batch: Batch, noise: NoiseConf) -> None:
    ids, positions, _ = batch
    read, of, started, targets, labels = Span(vocabulary(), noise, 0).inputs(batch, picks(len(ids)), 0)
    assert (read[of < 0] == PAD).all() and (labels[targets < 0] == IGNORE).all()
    number = (np.cumsum(positions.ravel() == 0) - 1).reshape(ids.shape)
    texts, kept, written = documents(ids, number), documents(read, of), documents(labels, targets)
    given = documents(started, targets)
    assert kept.keys() == written.keys() and set(kept) <= set(texts)
    for name, tokens in kept.items():
        text = [token for token in texts[name] if token != EOS]
        closed = [EOS] if EOS in texts[name] else []
        assert written[name].pop() == EOS
        assert given[name] == [PAD, *written[name]]
        spans: dict[int, list[int]] = {}
        for token in written[name]:
            if token < FIRST:
                spans[token] = []
            else:
                spans[[*spans][-1]].append(token)
        assert list(spans) == list(range(3, 3 + len(spans))) and all(spans.values())
        assert [t for token in tokens for t in spans.get(token, [token])] == [*text, *closed]
        sentinel = [token in spans for token in tokens]
        assert sum(sentinel) == len(spans) and not any(a and b for a, b in itertools.pairwise(sentinel))
        assert any(token >= FIRST for token in tokens), "something of each document is kept"


@pytest.mark.parametrize(("share", "span"), [(0.15, 3.0), (0.3, 5.0)])
def test_spans_hide_the_share_that_is_asked_for_in_the_length_that_is(share: float, span: float) -> None:
    for ends in (0.002, 0.1):
        batch = blocks(300, 256, 5, ends)
        text = (batch[0] >= FIRST).sum()
        *_, labels = Span(vocabulary(), NoiseConf(share=share, span=span), 0).inputs(batch, picks(300), 0)
        hidden, spans = (labels >= FIRST).sum(), ((labels < FIRST) & (labels > EOS)).sum()
        assert abs(hidden / text - share) < 0.005
        assert ends > 0.01 or abs(hidden / spans - span) < 0.05 * span


def test_tokens_of_a_document_are_about_as_likely_to_be_hidden_but_for_its_ends() -> None:
    ids, positions, labels = (np.repeat(part, 4000, axis=0) for part in blocks(1, 40, 3, ends=0.0))
    ids[:] = np.arange(FIRST, FIRST + 40)
    written = Span(vocabulary(), NoiseConf(), 0).inputs((ids, positions, labels), [(0, 0)] * 4000, 0)[-1]
    rates = np.bincount(written[written >= FIRST], minlength=FIRST + 40)[FIRST : FIRST + 40] / 4000
    assert abs(rates.mean() - 0.15) < 0.005 and rates.min() > 0.04
    assert rates[4:-4].min() > 0.12 and rates[4:-4].max() < 0.19


@pytest.mark.parametrize("kind", [Masked, Span])
def test_noise_is_a_function_of_seed_block_and_number_and_not_of_who_computes_it(kind: type[Masked | Span]) -> None:
    batch, chosen = blocks(8, 64, 7), picks(8)
    objective = kind(vocabulary(), NoiseConf(), 3)
    whole = objective.inputs(batch, chosen, 100)
    for first, last in ((0, 4), (4, 8), (2, 3)):
        rows = tuple(part[first:last] for part in batch)
        share = objective.inputs(rows, chosen[first:last], 100 + first)  # type: ignore[arg-type]
        for mine, all_of_it in zip(share[::2], whole[::2], strict=True):
            width = min(mine.shape[1], all_of_it.shape[1])  # what is beyond is padding
            assert np.array_equal(mine[:, :width], all_of_it[first:last, :width])
    again = kind(vocabulary(), NoiseConf(), 3).inputs(batch, chosen, 100)
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    others = [
        objective.inputs(batch, chosen, 108),
        objective.inputs(batch, [(source, block + 1) for source, block in chosen], 100),
        objective.inputs(batch, [(source + 1, block) for source, block in chosen], 100),
        kind(vocabulary(), NoiseConf(), 4).inputs(batch, chosen, 100),
        objective.inputs(batch, chosen, None),
    ]
    for other in others:
        width = min(other[-1].shape[1], whole[-1].shape[1])
        assert all((other[-1][row, :width] != whole[-1][row, :width]).any() for row in range(8))


@pytest.mark.parametrize("kind", [Masked, Span])
def test_held_out_blocks_have_the_same_noise_in_every_run(kind: type[Masked | Span]) -> None:
    batch = blocks(8, 64, 7)
    one, other = (kind(vocabulary(), NoiseConf(), seed).inputs(batch, picks(8), None) for seed in (0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
