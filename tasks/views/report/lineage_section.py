"""The report's graph of what was made from what, laid out in layers from the top."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tasks.core import number_format
from tasks.core.artifact import Manifest
from tasks.views.lineage import MODEL, SOURCE, Node
from tasks.views.report.charts import short
from tasks.views.report.layout import Drawing, Sizes, arrange

SIZES = Sizes(width=164, height=42, gap=14, between=32, passing=6)
MARGIN = 6


@dataclass
class Box:
    """A node as it is drawn."""

    id: str
    title: str
    subtitle: str
    kind: str
    """source, made, reused, earlier (of an earlier run), gone or model."""
    facts: list[tuple[str, str]]
    artifacts: list[Manifest]
    inputs: set[str]
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Graph:
    """Boxes by id, and where they and the lines between them are drawn."""

    nodes: dict[str, Box]
    drawing: Drawing

    def outputs(self, node: str) -> list[str]:
        """What was made from a node."""
        return [other.id for other in self.nodes.values() if node in other.inputs]


def place(lineage: Sequence[Node]) -> Graph:
    """The lineage of a run as boxes, each below those that it was made from."""
    ids = {node: f"n-{n}" for n, node in enumerate(lineage)}
    boxes = {ids[node]: _boxed(node, ids) for node in lineage}
    drawing = arrange({name: box.inputs for name, box in boxes.items()}, SIZES)
    for name, box in boxes.items():
        box.x, box.y = drawing.boxes[name]
    return Graph(boxes, drawing)


def _boxed(node: Node, ids: Mapping[Node, str]) -> Box:
    manifests = [step.manifest for step in node.artifacts if step.manifest]
    kind, state = (node.kind, node.state) if manifests or not node.artifacts else ("gone", "not in the store")
    many = f"{number_format.plural(len(manifests), 'shard')}, " if len(manifests) > 1 else ""
    inputs = {ids[before] for before in node.inputs}
    return Box(ids[node], node.title, f"{many}{state}", kind, _facts(node, state, manifests), manifests, inputs)


def _facts(node: Node, state: str, manifests: Sequence[Manifest]) -> list[tuple[str, str]]:
    if node.kind == SOURCE:
        given = [(option, node.options.get(option)) for option in ("kind", "paths", "distributions", "licence")]
        shown = [(option, value if isinstance(value, (list, tuple)) else [value]) for option, value in given if value]
        return [(option, ", ".join(map(str, values))) for option, values in shown]
    if not manifests:
        return [("state", state)] if node.kind == MODEL else []
    size = sum(file.size for manifest in manifests for file in manifest.files)
    seconds = sum(float(manifest.made_by.get("seconds") or 0) for manifest in manifests)
    return [("state", state), ("artifacts", number_format.count(len(manifests))), ("size", number_format.size(size)),
            ("time to make", number_format.seconds(seconds))]  # fmt: skip


def draw(graph: Graph) -> Markup:
    """The graph as SVG; the page's script makes it explorable, every node can be focused."""
    wires = [_wire(*edge, points) for edge, points in graph.drawing.edges.items()]
    boxes = [_box(graph, node) for node in sorted(graph.nodes.values(), key=lambda n: (n.y, n.x))]
    return Markup(
        '<svg id="graph" viewBox="{m} {m} {w:.0f} {h:.0f}" width="{w:.0f}" height="{h:.0f}" role="group" '
        'aria-label="Lineage: {n} boxes, each made from those above it"><g class="wires" aria-hidden="true">{wires}</g>'
        "{boxes}</svg>"
    ).format(
        m=-MARGIN, w=graph.drawing.width + 2 * MARGIN, h=graph.drawing.height + 2 * MARGIN, n=len(graph.nodes),
        wires=Markup("").join(wires), boxes=Markup("").join(boxes),
    )  # fmt: skip


def _wire(start: str, end: str, points: list[tuple[float, float]]) -> Markup:
    """A curve from box to box, straight where it passes another layer."""
    way = "M{:.1f} {:.1f}".format(*points[0])
    for n, ((x0, y0), (x1, y1)) in enumerate(itertools.pairwise(points)):
        bend = (y1 - y0) / 2
        way += (
            f"L{x1:.1f} {y1:.1f}" if n % 2 else f"C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"
        )
    return Markup('<path class="wire" data-from="{}" data-to="{}" d="{}"/>').format(start, end, way)


def _box(graph: Graph, node: Box) -> Markup:
    outputs = graph.outputs(node.id)
    said = f"{node.title}, {node.subtitle}: {len(node.inputs)} in, {len(outputs)} out"
    return Markup(
        '<g class="node {kind}" id="{id}" tabindex="0" role="button" aria-pressed="false" aria-label="{said}" '
        'data-in="{ins}" data-out="{outs}" transform="translate({x:.1f} {y:.1f})"><rect width="{w}" height="{h}" '
        'rx="7"/><text class="title" x="12" y="18">{title}</text><text class="sub" x="12" y="33">{sub}</text></g>'
    ).format(
        kind=node.kind, id=node.id, said=said, ins=" ".join(sorted(node.inputs)), outs=" ".join(outputs), x=node.x,
        y=node.y, w=SIZES.width, h=SIZES.height, title=short(node.title, 22), sub=short(node.subtitle, 24),
    )  # fmt: skip
