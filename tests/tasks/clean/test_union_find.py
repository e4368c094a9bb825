import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.clean import union_find
from tasks.clean.union_find import UnionFind
from tests.tasks.clean.slow_clusters import components


@given(count=st.integers(1, 12), data=st.data())
def test_roots_are_the_smallest_nodes_that_a_graph_search_reaches(count: int, data) -> None:
    node = st.integers(0, count - 1)
    edges = data.draw(st.lists(st.lists(st.tuples(node, node), max_size=6), max_size=4))
    expected = list(range(count))
    for _ in range(count):
        for left, right in (edge for some in edges for edge in some):
            expected[left] = expected[right] = min(expected[left], expected[right])
    found = UnionFind(count)
    for some in edges:
        left, right = np.array(some, np.uint32).reshape(-1, 2).T
        found.join(left, right)
    assert found.roots(np.arange(count)).tolist() == expected
    assert found.flatten().tolist() == expected


def test_a_large_graph_in_many_blocks_has_the_components_of_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(union_find, "BLOCK", 97)
    chance, found, joined = np.random.default_rng(0), UnionFind(5000), np.empty((0, 2), np.int64)
    for _ in range(8):
        edges = chance.integers(0, 5000, (500, 2))
        joined = np.concatenate((joined, edges))
        found.join(edges[:, 0].astype(np.uint32), edges[:, 1].astype(np.uint32))
        assert found.flatten().tolist() == components(5000, joined[:, 0], joined[:, 1]).tolist()


def test_a_long_chain_is_one_component() -> None:
    found = UnionFind(3000)
    for first in reversed(range(2999)):
        found.join(np.array([first], np.uint32), np.array([first + 1], np.uint32))
    assert set(found.flatten().tolist()) == {0}
