"""A layered drawing of a graph without cycles, from the top down (Sugiyama, Tagawa and Toda 1981).

Edges over several layers take a narrow place in each, so that no line runs behind a box; those that leave one node
share it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Set
from dataclasses import dataclass

SWEEPS = 8


@dataclass(frozen=True)
class Sizes:
    """Pixels of a box, of the gaps, and of the place that a passing edge takes."""

    width: float
    height: float
    gap: float
    between: float
    passing: float


@dataclass(frozen=True)
class Drawing:
    """The left upper corners of the boxes, the points of each edge from bottom to top middle, and the whole size."""

    boxes: dict[str, tuple[float, float]]
    edges: dict[tuple[str, str], list[tuple[float, float]]]
    width: float
    height: float


def arrange(inputs: Mapping[str, Set[str]], sizes: Sizes) -> Drawing:
    """Places for nodes, each given with the nodes that it was made from."""
    layer = _layers(inputs)
    chains = {
        (one, node): [one, *(f"{one}>{n}" for n in range(layer[one] + 1, layer[node])), node]
        for node, made_from in inputs.items()
        for one in sorted(made_from)
    }
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    near: dict[str, list[str]] = {}
    for (one, _), chain in [(("", node), [node]) for node in inputs] + list(chains.items()):
        for n, item in enumerate(chain, layer[one or chain[0]]):
            if item not in near:
                near[item] = []
                rows[n].append(item)
        for a, b in itertools.pairwise(chain):
            near[a] += [b] if b not in near[a] else []
            near[b] += [a] if a not in near[b] else []
    x = _across(
        rows, near, {item: sizes.passing if ">" in item else sizes.width for row in rows for item in row}, sizes
    )
    down = sizes.height + sizes.between

    def points(chain: list[str], top: int) -> list[tuple[float, float]]:
        """Through every place in between, along its whole height."""
        found = [(x[chain[0]], top * down + sizes.height)]
        for n, item in enumerate(chain[1:-1], top + 1):
            found += [(x[item], n * down), (x[item], n * down + sizes.height)]
        return [*found, (x[chain[-1]], (top + len(chain) - 1) * down)]

    return Drawing(
        {node: (x[node] - sizes.width / 2, layer[node] * down) for node in inputs},
        {edge: points(chain, layer[edge[0]]) for edge, chain in chains.items()},
        max((x[item] + sizes.width / 2 for item in x), default=0.0),
        len(rows) * down - sizes.between,
    )


def _layers(inputs: Mapping[str, Set[str]]) -> dict[str, int]:
    """The longest way from a node without inputs; such a node stands just above the first that was made from it."""
    layer: dict[str, int] = {}

    def of(node: str) -> int:
        if node not in layer:
            layer[node] = max((of(one) + 1 for one in inputs[node]), default=0)
        return layer[node]

    for node in inputs:
        of(node)
    for node, made_from in inputs.items():
        after = [layer[other] for other, theirs in inputs.items() if node in theirs]
        if not made_from and after:
            layer[node] = min(after) - 1
    return layer


def _across(
    rows: list[list[str]], near: Mapping[str, list[str]], width: Mapping[str, float], sizes: Sizes
) -> dict[str, float]:
    """Middles of all items: each row is ordered by, and drawn towards, the mean of its items' neighbours, and stays
    within the width of the widest."""
    x = {item: float(place) for row in rows for place, item in enumerate(row)}
    for sweep in range(SWEEPS):  # the order
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = {item: sum(x[o] for o in near[item]) / len(near[item]) if near[item] else x[item] for item in row}
            row.sort(key=lambda item: wanted[item])
            for place, item in enumerate(row):
                x[item] = place - (len(row) - 1) / 2
    spans = [sum(width[item] + sizes.gap for item in row) - sizes.gap for row in rows]
    half = max(spans, default=0.0) / 2
    x = dict.fromkeys(x, 0.0)
    for sweep in range(SWEEPS):  # the places
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = {item: sum(x[o] for o in near[item]) / max(len(near[item]), 1) for item in row}
            _draw_towards(row, wanted, x, width, sizes.gap, half)
    left = min((x[item] - width[item] / 2 for item in x), default=0.0)
    return {item: place - left for item, place in x.items()}


def _draw_towards(
    row: list[str],
    wanted: Mapping[str, float],
    x: dict[str, float],
    width: Mapping[str, float],
    gap: float,
    half: float,
) -> None:
    """Place a row, in its order and without overlap, as near as may be to where its items want to be."""
    free = -half
    for item in row:
        x[item] = max(wanted[item], free + width[item] / 2)
        free = x[item] + width[item] / 2 + gap
    drift = sum(x[item] - wanted[item] for item in row) / max(len(row), 1)
    free = half
    for item in reversed(row):
        x[item] = min(x[item] - max(drift, 0.0), free - width[item] / 2)
        free = x[item] - width[item] / 2 - gap
    free = -half
    for item in row:
        x[item] = max(x[item], free + width[item] / 2)
        free = x[item] + width[item] / 2 + gap
