"""The places of a graph's boxes and lines."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.views.report.layout import Sizes, arrange

SIZES = Sizes(width=100, height=40, gap=10, between=30, passing=6)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, set[str]]:
    count = draw(st.integers(1, 14))
    names = [f"n{n}" for n in range(count)]
    return {name: set(draw(st.lists(st.sampled_from(names[:n]), max_size=4))) if n else set() for n, name in
            enumerate(names)}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_boxes_do_not_overlap_inputs_stand_above_and_no_line_crosses_a_box(inputs: dict[str, set[str]]) -> None:
    drawing = arrange(inputs, SIZES)
    boxes = drawing.boxes
    assert boxes.keys() == inputs.keys()
    for one, (x, y) in boxes.items():
        assert -0.01 <= x <= drawing.width - SIZES.width + 0.01 and 0 <= y <= drawing.height
        for other, (left, top) in boxes.items():
            assert one == other or top != y or abs(left - x) >= SIZES.width
    for (start, end), points in drawing.edges.items():
        assert boxes[start][1] < boxes[end][1]
        for x, y in points[1:-1]:
            for left, top in boxes.values():
                assert not (top <= y <= top + SIZES.height and left < x < left + SIZES.width)
