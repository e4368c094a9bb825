"""The gate: two evaluations go in, a decision with its reasons comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from conf.schema.evaluate import GateConf
from tasks.core.artifact import Artifact
from tasks.core.errors import ArtifactError
from tasks.core.events import result
from tasks.core.number_format import change, number
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.evaluate.compare import Comparison, of_baseline, paired_bootstrap
from tasks.evaluate.metric import ItemMetric
from tasks.formats.evaluation import DECISION_FILE, read_items, write_json
from tasks.models import kind


@dataclass(frozen=True)
class Finding:
    """One thing that was asked of the candidate."""

    holds: bool
    short: str
    """What goes behind "it", as "does not beat naive Bayes (…)"; empty if there is nothing to say of it."""
    reasons: tuple[str, ...]
    """In whole sentences."""
    figures: dict[str, Any]
    """Into the decision."""


def run(
    candidate: Artifact, champion: Artifact | None, baselines: tuple[Artifact, ...], conf: GateConf, work: Workdir
) -> Stats:
    """Write the decision and return it; `baselines` are evaluations of what a candidate was fine-tuned from.

    Raises `ArtifactError` if the two are not evaluations of one kind on the same items; a refusal is no error here.
    """
    if champion is not None and champion.step != candidate.step:
        raise ArtifactError(f"{candidate.step} and {champion.step} measure different things: nothing to compare")
    measured = kind.measured_by(candidate.step)
    if measured is None:
        raise ArtifactError(f"{candidate.step} measures no kind of models that is known here")
    theirs = None if champion is None else read_items(champion)
    ours = read_items(candidate)
    metric = measured.metrics()[conf.metric]
    for start in baselines:
        before = read_items(start).select("id", *(pl.col(name).alias(f"untuned_{name}") for name in metric.needs))
        if set(before["id"]) != set(ours["id"]):
            raise ArtifactError(f"{start.step} and {candidate.step} did not measure the same items")
        ours = ours.join(before, on="id", maintain_order="left")
    decision = decide(ours, theirs, conf, metric)
    for reason in decision["reasons"]:
        result(reason)
    write_json(work / DECISION_FILE, decision)
    return decision


def decide(
    candidate: pl.DataFrame, champion: pl.DataFrame | None, conf: GateConf, metric: ItemMetric
) -> dict[str, Any]:
    """The gate's decision as JSON: accepted if there are enough items, each floor holds, and the candidate wins against
    the champion, or is the first.

    Every `difference` and the `interval` beside it are turned alike: more is better for the candidate. `verdict` says
    in a line what decided, `reasons` in sentences what was found.
    """
    floors = [_floor(candidate, name, conf, metric) for name in conf.floors]
    against = _first() if champion is None else _champion(candidate, champion, conf, metric)
    found = [_enough(candidate.height, conf), *floors, against]
    accepted = all(one.holds for one in found)
    told = [one.short for one in found if one.short and (accepted or not one.holds)]
    return {
        "accepted": accepted,
        "first": champion is None,
        "verdict": "; ".join(told),
        "rule": conf.rule,
        "metric": conf.metric,
        "margin": conf.margin,
        "min_items": conf.min_items,
        "confidence": conf.confidence,
        "items": candidate.height,
        **against.figures,
        "floors": [floor.figures for floor in floors],
        "reasons": [reason for one in (*floors, against, found[0]) for reason in one.reasons],
    }


def _enough(items: int, conf: GateConf) -> Finding:
    if items >= conf.min_items:
        return Finding(True, "", (), {})
    said = f"{items} items are too few to trust: min_items is {conf.min_items}"
    return Finding(False, f"was measured on too few items ({items}; min_items is {conf.min_items})", (f"{said}.",), {})


def _first() -> Finding:
    return Finding(True, "is the first", ("There is no champion: the candidate is the first.",), {})


def _floor(candidate: pl.DataFrame, name: str, conf: GateConf, metric: ItemMetric) -> Finding:
    found = _compared(candidate, of_baseline(candidate, name, metric), conf, metric)
    holds, called = found.low > 0, kind.baselines().get(name, name)
    shown = (
        f"{conf.metric.replace('_', ' ')} {number(found.candidate)} against {number(found.champion)}, difference "
        f"{change(found.gain)}, {conf.confidence:.0%} interval {change(found.low)} to {change(found.high)}"
    )
    verb = "beats" if holds else "does not beat"
    values = {"candidate": found.candidate, "value": found.champion}
    figures = {"baseline": name, "holds": holds, **values, **_difference(found)}
    return Finding(holds, f"{verb} {called} ({shown})", (f"The candidate {verb} {called}: {shown}.",), figures)


def _champion(candidate: pl.DataFrame, champion: pl.DataFrame, conf: GateConf, metric: ItemMetric) -> Finding:
    found = _compared(candidate, champion, conf, metric)
    seen = (
        f"On the same {found.items} items the candidate has {conf.metric} {found.candidate:.4f}, the champion "
        f"{found.champion:.4f}: a gain of {found.gain:+.4f} ({conf.confidence:.0%} interval {found.low:+.4f} to "
        f"{found.high:+.4f}, p = {found.p:.4f})."
    )
    if conf.rule == "superior":
        holds = found.low > 0
        verdict = "lies above 0: the candidate is superior" if holds else "does not lie above 0: not proven superior"
        short = f"{'is' if holds else 'is not proven'} superior to the champion"
    else:
        holds = found.low >= -conf.margin
        verdict = f"{'stays' if holds else 'does not stay'} within {conf.margin:g} of the champion"
        short = f"{verdict.removesuffix('champion')}champion"
    short += f" (difference {change(found.gain)}, {conf.confidence:.0%} interval {change(found.low)} to "
    short += f"{change(found.high)})"
    figures = {"candidate": found.candidate, "champion": found.champion, **_difference(found)}
    return Finding(holds, short, (seen, f"The interval {verdict}."), figures)


def _compared(candidate: pl.DataFrame, other: pl.DataFrame, conf: GateConf, metric: ItemMetric) -> Comparison:
    return paired_bootstrap(candidate, other, metric, conf.seed, conf.resamples, conf.confidence)


def _difference(found: Comparison) -> dict[str, Any]:
    return {"difference": found.gain, "interval": [found.low, found.high], "p": found.p}
