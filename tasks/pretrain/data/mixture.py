"""Weights of sources as whole sequences: what a batch cannot give a source, later batches do.

The error is carried on by Tijdeman's rule (The chairman assignment problem, Discrete Mathematics 32, 1980): after any
number of sequences each source has its exact share to within one sequence. The shares repeat in a cycle, so that how
many sequences a source has had after any step is looked up and not walked to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

LONGEST = 1 << 15
"""Sequences of the longest cycle: weights that need a longer one are rounded to so many parts."""


def shares(weights: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers, each above 0, in proportion to the weights: exactly, where they add up to `LONGEST` or less."""
    parts = {name: Fraction(str(weight)) for name, weight in weights.items()}
    whole = math.lcm(*(part.denominator for part in parts.values()))
    counts = {name: int(part * whole) for name, part in parts.items()}
    common = math.gcd(*counts.values())
    if sum(counts.values()) // common <= LONGEST:
        return {name: count // common for name, count in counts.items()}
    total = sum(parts.values())
    return {name: max(1, round(part / total * LONGEST)) for name, part in parts.items()}


def given(counts: tuple[int, ...], sequences: Ints) -> Ints:
    """How many of the first `sequences` sequences each source gives: an array [len(sequences), len(counts)]."""
    cycle = _cycle(counts)
    rounds, rest = np.divmod(sequences, len(cycle) - 1)
    found: Ints = rounds[:, None] * cycle[-1] + cycle[rest]
    return found


@lru_cache(maxsize=8)
def _cycle(counts: tuple[int, ...]) -> Ints:
    """What each source has given after 0, 1, … sequences of a cycle."""
    common = math.gcd(*counts)
    parts = [count // common for count in counts]
    length, taken = sum(parts), [0] * len(parts)
    if len(parts) == 1:
        return np.arange(length + 1, dtype=np.int64)[:, None]
    rows = [tuple(taken)]
    # In units of 1 / (slack * length) of a sequence, so that all is whole numbers.
    slack = 2 * len(parts) - 2
    for place in range(1, length + 1):
        behind = [slack * (part * place - length * done) for part, done in zip(parts, taken, strict=True)]
        due = [source for source, late in enumerate(behind) if late >= length]
        first = min(due, key=lambda source: ((slack - 1) * length - behind[source]) / parts[source])
        taken[first] += 1
        rows.append(tuple(taken))
    return np.array(rows, np.int64)
