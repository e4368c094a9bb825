"""Charts as inline SVG: own small code, colours by CSS classes, so that a theme or a printer can change them.

Each has a title and a description for those who do not see it. Series differ by dash and mark too, not by colour only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from tasks.core import number_format
from tasks.views.palette import DASHES

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 420, 56, 14, 10, 36
DRAWN = 300
"""Most points of a series that are drawn."""


@dataclass(frozen=True)
class Series:
    """A named line: (x, y) in order of x."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Mark:
    """A value with its interval; `kind` is model, champion or baseline."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    kind: str = "model"


@dataclass(frozen=True)
class Bar:
    """What went in and what came out of a stage, in one unit."""

    label: str
    before: float
    after: float
    text: str


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers inside [low, high], about so many; the two ends if nothing rounder fits."""
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)] or [low, high]


def line(slug: str, title: str, series: Sequence[Series], x: str = "step", floor: float | None = None) -> Markup:
    """Lines over x. `floor` is a value that the axis reaches down to."""
    drawn = [s for s in series if s.points]
    xs, ys = ([p[n] for s in drawn for p in s.points] for n in (0, 1))
    low, high = min(ys, default=0.0), max(ys, default=1.0)
    low = low if floor is None else min(low, floor)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = (low if floor is not None else low - margin), high + margin
    height = 230
    across = _scale(min(xs, default=0.0), max(xs, default=1.0), LEFT, WIDTH - RIGHT)
    up = _scale(low, high, height - BOTTOM, TOP)
    parts = [_grid(low, high, up), _foot(min(xs, default=0.0), max(xs, default=1.0), across, height, x)]
    for n, one in enumerate(drawn):
        points = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in _thinned(one.points))
        dash = Markup(' stroke-dasharray="{}"').format(DASHES[n % 6]) if DASHES[n % 6] else ""
        parts.append(Markup('<polyline class="line s{}"{} points="{}"/>').format(n % 6, dash, points))
        if len(one.points) < 30:
            dots = [(across(a), up(b)) for a, b in one.points]
            parts += [
                Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="2.6"/>').format(n % 6, *d) for d in dots
            ]
    said = "; ".join(
        f"{s.name} from {number_format.number(s.points[0][1])} to {number_format.number(s.points[-1][1])}"
        for s in drawn
    )
    return _svg(slug, title, f"Over {x}: {said}.", height, parts)


def intervals(slug: str, title: str, marks: Sequence[Mark]) -> Markup:
    """Values one under the other, each with its interval: a disc for the model, a diamond for the champion, a square
    for a baseline."""
    ends = [v for m in marks for v in (m.value, m.low, m.high) if v is not None]
    margin = (max(ends) - min(ends)) * 0.08 or abs(max(ends)) * 0.1 or 1.0
    low, high = min(ends) - margin, max(ends) + margin
    left, row, top = 134, 28, 8
    height = top + row * len(marks) + 34
    across = _scale(low, high, left, WIDTH - RIGHT - 8)
    parts = [_foot(low, high, across, height, "")]
    for n, mark in enumerate(marks):
        y, place = top + row * n + row / 2, across(mark.value)
        parts.append(_text(left - 10, y + 4, short(mark.label, 20), "end", "label"))
        if mark.low is not None and mark.high is not None:
            parts.append(
                Markup('<path class="whisker k-{}" d="M{:.1f} {:.1f}H{:.1f}M{:.1f} {:.1f}v8M{:.1f} {:.1f}v8"/>').format(
                    mark.kind, across(mark.low), y, across(mark.high), across(mark.low), y - 4, across(mark.high), y - 4
                )
            )
        parts.append(_shape(mark.kind, place, y))
    said = "; ".join(
        f"{m.label} {number_format.number(m.value)} {number_format.interval(m.low, m.high)}".strip() for m in marks
    )
    return _svg(slug, title, f"{said}.", height, parts)


def funnel(slug: str, title: str, bars: Sequence[Bar]) -> Markup:
    """For each stage an outline for what went in and a filled bar for what came out."""
    width, left, row = 640, 128, 34
    most = max((bar.before for bar in bars), default=1.0) or 1.0
    across = _scale(0, most, 0, width - left - 150)
    parts: list[Markup] = []
    for n, bar in enumerate(bars):
        y = 4 + row * n
        parts.append(_text(left - 12, y + 19, bar.label, "end", "label"))
        for name, value in (("before", bar.before), ("after", bar.after)):
            box = (name, left, y + 4, max(across(value), 1.0), row - 12)
            parts.append(Markup('<rect class="bar {}" x="{}" y="{}" width="{:.1f}" height="{}" rx="2"/>').format(*box))
        parts.append(_text(left + max(across(bar.before), 1.0) + 10, y + 19, bar.text, "start", "value"))
    said = "; ".join(
        f"{bar.label} {number_format.count(bar.before)} in, {number_format.count(bar.after)} out" for bar in bars
    )
    return _svg(slug, title, f"{said}.", 8 + row * len(bars), parts, width)


def reliability(slug: str, title: str, points: Sequence[tuple[float, float, int]]) -> Markup:
    """(mean confidence, accuracy, items) of each bin, beside the diagonal of a perfectly calibrated model."""
    width, height = 320, 300
    across, up = _scale(0, 1, LEFT, width - RIGHT), _scale(0, 1, height - BOTTOM, TOP)
    most = max((n for *_, n in points), default=1)
    parts = [_grid(0, 1, up, width), _foot(0, 1, across, height, "confidence")]
    diagonal = (across(0), up(0), across(1), up(1))
    parts.append(Markup('<path class="ideal" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(*diagonal))
    for confidence, right, n in points:
        radius = 3 + 9 * math.sqrt(n / most)
        place = (across(confidence), up(right), radius)
        parts.append(Markup('<circle class="bubble" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(*place))
    said = "; ".join(f"confidence {c:.2f}, right {a:.2f}, {n} items" for c, a, n in points)
    return _svg(slug, title, f"Accuracy by confidence: {said}.", height, parts, width)


def key(names: Sequence[str]) -> Markup:
    """The legend of a chart with several lines."""
    items = [
        Markup('<li><svg class="swatch" viewBox="0 0 26 8" aria-hidden="true"><path class="line s{}" d="M0 4H26"{}/>'
               "</svg>{}</li>").format(n % 6, Markup(f' stroke-dasharray="{DASHES[n % 6]}"') if n % 6 else "", name)
        for n, name in enumerate(names)
    ]  # fmt: skip
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _svg(slug: str, title: str, said: str, height: float, parts: Sequence[Markup], width: int = WIDTH) -> Markup:
    return Markup(
        '<svg class="chart-svg" viewBox="0 0 {w} {h:.0f}" role="img" aria-labelledby="{s}-t {s}-d">'
        '<title id="{s}-t">{t}</title><desc id="{s}-d">{d}</desc>{p}</svg>'
    ).format(w=width, h=height, s=slug, t=title, d=said, p=Markup("").join(parts))


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _grid(low: float, high: float, up: Callable[[float], float], width: int = WIDTH) -> Markup:
    lines = [
        Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, up(value), width - RIGHT)
        + _text(LEFT - 8, up(value) + 4, _tick(value), "end", "tick")
        for value in ticks(low, high)
    ]
    return Markup("").join(lines)


def _foot(low: float, high: float, across: Callable[[float], float], height: float, name: str) -> Markup:
    y = height - BOTTOM if name else height - 26
    marks = ticks(low, high)
    labels = [_text(across(mark), y + 16, _tick(mark), "middle", "tick") for mark in marks]
    axis = Markup('<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>').format(across(low), y, across(high))
    return axis + Markup("").join(labels) + (_text((across(low) + across(high)) / 2, y + 31, name, "middle", "tick"))


def _shape(kind: str, x: float, y: float) -> Markup:
    if kind == "model":
        return Markup('<circle class="mark k-model" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(x, y)
    if kind == "champion":
        return Markup('<path class="mark k-champion" d="M{:.1f} {:.1f}l6 6l-6 6l-6 -6z"/>').format(x, y - 6)
    return Markup('<rect class="mark k-baseline" x="{:.1f}" y="{:.1f}" width="9" height="9"/>').format(x - 4.5, y - 4.5)


def _text(x: float, y: float, text: str, anchor: str, name: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        name, x, y, anchor, escape(text)
    )


def short(text: str, limit: int) -> str:
    """Text of a label, cut where there is no room for more."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Evenly spaced points, the first and the last among them."""
    if len(points) <= DRAWN:
        return list(points)
    return [points[round(n * (len(points) - 1) / (DRAWN - 1))] for n in range(DRAWN)]


def _tick(value: float) -> str:
    """A round number beside an axis."""
    return number_format.count(value) if abs(value) >= 1000 else f"{value:.4g}"
