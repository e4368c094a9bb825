"""Union-find (Tarjan 1975) for whole arrays of nodes, 4 bytes a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Nodes = NDArray[Any]

BLOCK = 1 << 18
"""Nodes that are gone through at a time."""


class UnionFind:
    """Components of a growing graph; the smallest node of each is its root."""

    def __init__(self, count: int) -> None:
        self.parent = np.arange(count, dtype=np.uint32)
        """Never larger than the node itself."""

    def roots(self, nodes: Nodes) -> NDArray[np.uint32]:
        """The root of each node; the paths to them are shortened."""
        above = self.parent[nodes]
        while True:
            higher = self.parent[above]
            if np.array_equal(higher, above):
                self.parent[nodes] = above
                return above
            self.parent[nodes] = above = higher

    def join(self, left: Nodes, right: Nodes) -> None:
        """Add the edges (left[i], right[i])."""
        while len(left):
            first, second = self.roots(left), self.roots(right)
            apart = first != second
            left, right = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
            np.minimum.at(self.parent, right, left)

    def flatten(self) -> NDArray[np.uint32]:
        """The root of every node."""
        for block in blocks(len(self.parent)):
            while not np.array_equal(above := self.parent[self.parent[block]], self.parent[block]):
                self.parent[block] = above
        return self.parent


def blocks(count: int) -> Iterator[slice]:
    """All of `count` nodes in turn."""
    return (slice(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK))
