// The lineage: choose a box by pointer or keyboard, see what it was made from and what was made from it.
(() => {
  const graph = document.getElementById("graph");
  if (!graph) return;
  const nodes = [...graph.querySelectorAll(".node")];
  const wires = [...graph.querySelectorAll(".wire")];
  const panels = [...document.querySelectorAll(".panel")];
  const hint = document.getElementById("graph-hint");
  const linked = (node, side) => (node.dataset[side] || "").split(" ").filter(Boolean).map((id) => document.getElementById(id));
  const middle = (node) => { const box = node.getBoundingClientRect(); return { x: box.x + box.width / 2, y: box.y }; };
  let chosen = null;

  const reach = (node, side, seen = new Set([node.id])) => {
    for (const other of linked(node, side)) if (!seen.has(other.id)) { seen.add(other.id); reach(other, side, seen); }
    return seen;
  };

  const light = (node) => {
    const up = node ? reach(node, "in") : null, down = node ? reach(node, "out") : null;
    const on = (set, from, to) => set.has(from) && set.has(to);
    for (const other of nodes) other.classList.toggle("dim", !!node && !up.has(other.id) && !down.has(other.id));
    for (const wire of wires) {
      const { from, to } = wire.dataset;
      const lit = !!node && (on(up, from, to) || on(down, from, to));
      wire.classList.toggle("lit", lit);
      wire.classList.toggle("dim", !!node && !lit);
    }
  };

  const choose = (node) => {
    chosen = node;
    for (const other of nodes) other.setAttribute("aria-pressed", String(other === node));
    for (const panel of panels) panel.hidden = !node || panel.dataset.node !== node.id;
    hint.hidden = !!node;
    light(node);
  };

  const focus = (node) => {
    if (!node) return;
    for (const other of nodes) other.tabIndex = other === node ? 0 : -1;
    node.focus();
  };

  const nearest = (node, found) => found.sort((a, b) => Math.abs(middle(a).x - middle(node).x) - Math.abs(middle(b).x - middle(node).x))[0];
  const beside = (node, way) => {
    const row = nodes.filter((other) => Math.abs(middle(other).y - middle(node).y) < 2).sort((a, b) => middle(a).x - middle(b).x);
    return row[row.indexOf(node) + way];
  };

  const keys = {
    ArrowUp: (node) => focus(nearest(node, linked(node, "in"))),
    ArrowDown: (node) => focus(nearest(node, linked(node, "out"))),
    ArrowLeft: (node) => focus(beside(node, -1)),
    ArrowRight: (node) => focus(beside(node, 1)),
    Home: () => focus(nodes[0]),
    End: () => focus(nodes[nodes.length - 1]),
    Enter: (node) => choose(node === chosen ? null : node),
    " ": (node) => choose(node === chosen ? null : node),
    Escape: () => choose(null),
  };

  for (const node of nodes) {
    node.addEventListener("click", () => { focus(node); choose(node === chosen ? null : node); });
    node.addEventListener("pointerenter", () => { if (!chosen) light(node); });
    node.addEventListener("pointerleave", () => { if (!chosen) light(null); });
    node.addEventListener("focus", () => { if (!chosen) light(node); });
    node.addEventListener("blur", () => { if (!chosen) light(null); });
    node.addEventListener("keydown", (event) => {
      const act = keys[event.key];
      if (act && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); act(node); }
    });
  }
  for (const link of document.querySelectorAll("[data-goto]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const node = document.getElementById(link.dataset.goto);
      choose(node);
      focus(node);
    });
  }
  nodes.forEach((node, place) => { node.tabIndex = place ? -1 : 0; });
  document.documentElement.classList.add("live");
  choose(null);
})();
