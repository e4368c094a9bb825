"""Stages that drop too much: counted by source and reason, and held against `data.losses`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conf.schema.validate import LossesConf
from tasks.core.errors import DataError
from tasks.core.number_format import count, plural, share
from tasks.core.plan.planner import first_pending
from tasks.core.run_warnings import told, warning
from tasks.core.step import Stats
from tasks.corpus.funnel import by_source
from tasks.formats.document_files import Place
from tasks.formats.verdicts import write_losses

REASONS, SOURCES = 3, 8
"""Reasons of a loss that are named, and lossy sources of a stage."""
EXACT = 1e-9
"""Documents: 0.57 of 100 is a little less than 57 in floating point."""
OPTIONS = {
    "repeated": "the source says the same twice",
    "empty": "rows without text in the source",
    "unreadable": "data.sources.{source}.max_bad_rows",
    "takedown": "`fromzero takedown`",
    "quarantine": "data.validation.quarantine",
    "licence": "data.licences.by_source.{source}",
    "language": "data.clean.language",
    "repeated_id": "the source says the same twice",
    "near_duplicate": "data.dedup.threshold",
    "exact_duplicate": "the source says the same twice",
    "in_evalset": "data.evalset",
    "overlaps_evalset": "data.decontaminate.max_share",
}
"""What decides about each reason; of every other one the rule of that name."""
RULE = "data.clean.rules.{reason} (or data.clean.rules_by_source.{source})"


@dataclass(frozen=True)
class Loss:
    """What a stage dropped of a source, or (`source` empty) of all together."""

    stage: str
    source: str
    documents: int
    """That went in."""
    reasons: Mapping[str, int]
    """Documents dropped for each, the most frequent first; without those that are allowed."""
    allowed: int = 0
    """Documents dropped for reasons that `data.losses.allow` lets pass."""

    @property
    def dropped(self) -> int:
        """Documents that count as lost."""
        return sum(self.reasons.values())

    @property
    def share(self) -> float:
        """Their share of what went in."""
        return self.dropped / self.documents if self.documents else 0.0

    def to_json(self) -> dict[str, Any]:
        """The loss as plain JSON values."""
        return {"stage": self.stage, "source": self.source, "documents": self.documents, "dropped": self.dropped,
                "allowed": self.allowed, "reasons": dict(self.reasons)}  # fmt: skip

    def __str__(self) -> str:
        whose = f"source {self.source}" if self.source else "all sources together"
        why = ", ".join(f"{name} {share(n, self.documents)}" for name, n in [*self.reasons.items()][:REASONS])
        rest = len(self.reasons) - REASONS
        return (
            f"{self.stage} drops {share(self.dropped, self.documents)} of {whose} ({count(self.dropped)} of "
            f"{plural(self.documents, 'document')}): {why}{f' and {rest} more reasons' if rest > 0 else ''}"
        )


def losses_of(*stages: Sequence[Any]) -> Any:
    """What each stage did with the documents of each source, as JSON: {stage: {source: {documents, reasons}}}; each
    stage is given by its shards' artifacts. A plan gets what it waits for."""
    if pending := first_pending(stages):
        return pending
    found: dict[str, dict[str, Any]] = {}
    for shards in stages:
        for source, stage in by_source(shards[0].step, ((shard.shard, shard.stats) for shard in shards)).items():
            counts = {"documents": stage.documents_in, "reasons": dict(stage.reasons)}
            found.setdefault(stage.name, {})[source] = counts
    return found


def judge(lost: Mapping[str, Any], conf: LossesConf, out: Place) -> Stats:
    """Write what every stage dropped of every source; returns the warnings.

    Raises `DataError` that names each collapse, its reasons, and the options that change it or let it pass.
    """
    losses = [loss for stage, sources in lost.items() for loss in _counted(stage, sources, conf)]
    if collapsed := list(_collapsed(losses, conf)):
        raise DataError(_refusal(collapsed, conf))
    write_losses(out, [loss.to_json() for loss in losses])
    return {"warnings": [told(**one) for one in _warnings(losses, conf)]}


def _counted(stage: str, sources: Mapping[str, Any], conf: LossesConf) -> Iterator[Loss]:
    for source, found in sources.items():
        whole, allowed = found["documents"], conf.allow.get(source, {})
        passing = {name for name, n in found["reasons"].items() if n <= allowed.get(name, -1.0) * whole + EXACT}
        reasons = {name: n for name, n in found["reasons"].items() if name not in passing}
        yield Loss(stage, source, whole, reasons, sum(found["reasons"][name] for name in passing))


def _collapsed(losses: Sequence[Loss], conf: LossesConf) -> Iterator[Loss]:
    """Sources that lost too much, and stages that did of all sources together where no single one is to blame."""
    for stage in dict.fromkeys(loss.stage for loss in losses):
        own = [loss for loss in losses if loss.stage == stage]
        found = [loss for loss in own if loss.share > conf.fail and loss.documents >= conf.min_documents]
        yield from found or (loss for loss in [_together(own)] if loss.share > conf.fail)


def _together(losses: Sequence[Loss]) -> Loss:
    if len(losses) == 1:
        return losses[0]
    reasons: dict[str, int] = {}
    for loss in losses:
        for name, n in loss.reasons.items():
            reasons[name] = reasons.get(name, 0) + n
    ranked = dict(sorted(reasons.items(), key=lambda item: -item[1]))
    return Loss(losses[0].stage, "", sum(loss.documents for loss in losses), ranked)


def _warnings(losses: Sequence[Loss], conf: LossesConf) -> Iterator[dict[str, str]]:
    for stage in dict.fromkeys(loss.stage for loss in losses):
        found = [loss for loss in losses if loss.stage == stage and loss.share > conf.warn]
        found.sort(key=lambda loss: -loss.share)
        for loss in found[:SOURCES]:
            yield warning(str(loss), f"{_changed_by(loss)}; {_let_through(loss, conf.warn)} is no more warned of")
        if rest := found[SOURCES:]:
            named = ", ".join(loss.source for loss in rest[:SOURCES])
            yield warning(
                f"{stage} drops more than {share(conf.warn, 1)} of {plural(len(rest), 'further source')}: {named}"
                f"{', …' if len(rest) > SOURCES else ''}",
                "data.losses.warn",
            )


def _refusal(collapsed: Sequence[Loss], conf: LossesConf) -> str:
    said = ["the data collapse, so that nothing is trained on what is left:"]
    for loss in collapsed:
        said.append(f"  {loss}")
        said.append(f"    what decides: {_changed_by(loss)}")
        said.append(f"    if it is meant: {_let_through(loss, conf.fail)}")
    first = next(iter(collapsed[0].reasons))
    said.append(f"To see what was dropped: fromzero rejects last --reason {first}")
    said.append(f"The limit is data.losses.fail={conf.fail:g} of a source's documents; 1 lets every loss pass")
    return "\n".join(said)


def _changed_by(loss: Loss) -> str:
    """The options that decide about the main reasons."""
    source = loss.source or "SOURCE"
    named = [OPTIONS.get(name, RULE).format(source=source, reason=name) for name in [*loss.reasons][:REASONS]]
    return ", ".join(dict.fromkeys(named))


def _let_through(loss: Loss, limit: float) -> str:
    """The options that let a loss pass: allowances for as many reasons, the most frequent first, as bring it below."""
    if not loss.source:
        return "data.losses.fail=1"
    left, wanted = loss.dropped, []
    for name, n in loss.reasons.items():
        if left <= limit * loss.documents:
            break
        wanted.append(f"data.losses.allow.{loss.source}.{name}={math.ceil(100 * n / loss.documents) / 100:g}")
        left -= n
    return " ".join(wanted)
