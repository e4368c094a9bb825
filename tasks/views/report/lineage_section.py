"""The report's graph: what was made from what, shards of a step taken together, laid out in layers from the top."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from tasks.core import number_format
from tasks.core.artifact import Manifest
from tasks.views.model_view import Model
from tasks.views.report.charts import short
from tasks.views.report.layout import Drawing, Sizes, arrange
from tasks.views.run_data import Run

SIZES = Sizes(width=164, height=42, gap=14, between=32, passing=6)
MARGIN = 6


@dataclass
class Node:
    """A step of the run with its artifacts, a source, or a registered version."""

    id: str
    title: str
    subtitle: str
    kind: str
    """source, made, reused, earlier (of an earlier run), gone or model."""
    facts: list[tuple[str, str]] = field(default_factory=list)
    artifacts: list[Manifest] = field(default_factory=list)
    inputs: set[str] = field(default_factory=set)
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Graph:
    """Nodes by id, and where they and the lines between them are drawn."""

    nodes: dict[str, Node]
    drawing: Drawing

    def outputs(self, node: str) -> list[str]:
        """What was made from a node."""
        return [other.id for other in self.nodes.values() if node in other.inputs]


def build(run: Run, models: Iterable[Model]) -> Graph:
    """The graph of a run: its steps, the sources before them, the versions after them, and artifacts of earlier runs
    that something was made from."""
    owner: dict[str, str] = {}
    nodes: dict[str, Node] = {}
    states = {step.key: step.state for step in run.steps if step.manifest}
    champions = {str(model.before.key) for model in models if model.before}
    for manifest in run.manifests():
        _enter(nodes, owner, manifest, "reused" if states.get(manifest.key) == "cached" else "made", champions)
    for manifest in run.manifests():
        for ref in manifest.inputs:
            _connect(run, nodes, owner, manifest, ref)
    _add_sources(run, nodes)
    _add_models(nodes, owner, models)
    for node in nodes.values():
        _describe(node)
    return _place(nodes)


def _enter(nodes: dict[str, Node], owner: dict[str, str], manifest: Manifest, kind: str, champions: set[str]) -> Node:
    """Shards of a step share a node; other artifacts of one step get one each."""
    name = manifest.step if manifest.shard else f"{manifest.step}-{manifest.key[:8]}"
    subtitle = "the champion's, " if manifest.key in champions else ""
    node = nodes.setdefault(name, Node(f"n-{len(nodes)}", manifest.step, subtitle, kind))
    node.artifacts.append(manifest)
    if kind == "made":
        node.kind = kind
    owner[f"{manifest.step}/{manifest.key}"] = name
    return node


def _connect(run: Run, nodes: dict[str, Node], owner: dict[str, str], manifest: Manifest, ref: dict[str, Any]) -> None:
    path = f"{ref['step']}/{ref['key']}"
    if path not in owner:
        found = run.look(ref).manifest
        name = f"earlier {ref['step']}" if found else f"gone {ref['step']}"
        kind = "earlier" if found else "gone"
        node = nodes.setdefault(name, Node(f"n-{len(nodes)}", ref["step"], "", kind))
        node.artifacts += [found] if found else []
        owner[path] = name
    target = nodes[owner[f"{manifest.step}/{manifest.key}"]]
    if nodes[owner[path]].id != target.id:
        target.inputs.add(nodes[owner[path]].id)


def _add_sources(run: Run, nodes: dict[str, Node]) -> None:
    data = run.config.get("data", {})
    evaluations = data.get("decontaminate", {}).get("against", {})
    for step, sources in (("fetch_shard", data.get("sources", {})), ("fetch_evaluation", evaluations)):
        for name, conf in (sources if step in nodes else {}).items():
            kind = str(conf.get("kind", ""))
            node = Node(f"n-{len(nodes)}", name, f"source: {kind}", "source", [("kind", kind)])
            for option in ("paths", "distributions", "licence"):
                if value := conf.get(option):
                    node.facts.append((option, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
            nodes[f"source {step} {name}"] = node
            nodes[step].inputs.add(node.id)


def _add_models(nodes: dict[str, Node], owner: dict[str, str], models: Iterable[Model]) -> None:
    for model in models:
        if model.version is None or model.evaluation is None:
            continue
        node = Node(f"n-{len(nodes)}", f"{model.name} v{model.version}", model.state, "model", [("state", model.state)])
        named = f"{model.evaluation.name}/{model.evaluation.key}"
        gates = [n for n in nodes.values() for m in n.artifacts if m.step == "gate" and _first_input(m) == named]
        node.inputs |= {gate.id for gate in gates} or ({nodes[owner[named]].id} if named in owner else set())
        evaluated = model.evaluation.manifest
        if evaluated and (made := _first_input(evaluated)) in owner:
            node.inputs.add(nodes[owner[made]].id)
        nodes[f"model {model.name}"] = node


def _first_input(manifest: Manifest) -> str:
    return f"{manifest.inputs[0]['step']}/{manifest.inputs[0]['key']}" if manifest.inputs else ""


def _describe(node: Node) -> None:
    if node.kind in ("source", "model"):
        return
    number, size = len(node.artifacts), sum(file.size for m in node.artifacts for file in m.files)
    seconds = sum(float(m.made_by.get("seconds") or 0) for m in node.artifacts)
    word = {"earlier": "of an earlier run", "gone": "not in the store"}.get(node.kind, node.kind)
    many = f"{number_format.plural(number, 'shard')}, " if number > 1 else ""
    node.subtitle += f"{many}{word}"
    if node.artifacts:
        node.facts = [("state", word), ("artifacts", number_format.count(number)), ("size", number_format.size(size)),
                      ("time to make", number_format.seconds(seconds))]  # fmt: skip


def _place(named: dict[str, Node]) -> Graph:
    nodes = {node.id: node for node in named.values()}
    drawing = arrange({node.id: node.inputs for node in nodes.values()}, SIZES)
    for id, node in nodes.items():
        node.x, node.y = drawing.boxes[id]
    return Graph(nodes, drawing)


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


def _box(graph: Graph, node: Node) -> Markup:
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
