"""How often training reads its data over: beyond some four epochs repeats teach little (Muennighoff et al. 2023)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from conf.schema.pretrain import PretrainConf, SegmentConf
from tasks.core.number_format import count
from tasks.core.plan.planner import first_pending
from tasks.core.run_warnings import warning
from tasks.corpus.funnel import source_of


def read_by(segment: SegmentConf, distinct: Mapping[str, int]) -> dict[str, float]:
    """Tokens that a segment reads of each source, of which there are `distinct` ones."""
    total, whole = segment.tokens_after(segment.steps), sum(distinct.values())
    if segment.mixture is not None:
        weights: Mapping[str, float] = segment.mixture
    else:  # all tokens alike, or each source a number of times: by the tokens that it then has
        times = segment.epochs
        weights = {name: n * (1.0 if times is None else times.get(name, 0.0)) for name, n in distinct.items()}
    sums = sum(weights.values())
    return {name: total * weight / sums for name, weight in weights.items()} if sums and whole else {}


def distinct_tokens(tokens: Any) -> dict[str, int]:
    """Training tokens of each source; documents that are seen again are not counted again."""
    found: Counter[str] = Counter()
    for shard in tokens:
        found[source_of(shard.shard)] += int(shard.stats.get("parts", {}).get("train", {}).get("tokens", 0))
    return dict(found)


def warn_of_repeats(tokens: Any, tokenizer: Any, start: Any, conf: PretrainConf) -> list[dict[str, str]]:
    """A warning if this segment and those before it read a source, or everything, more often than the limit."""
    limit = conf.run.max_epochs
    if limit is None or first_pending(tokens):
        return []
    distinct, read = distinct_tokens(tokens), Counter[str]()
    for segment in (*conf.earlier.segments, conf.segment):
        read.update(read_by(segment, distinct))
    alike = all(
        segment.mixture is None and segment.epochs is None for segment in (*conf.earlier.segments, conf.segment)
    )
    rows = {name: (read[name], distinct.get(name, 0)) for name in sorted(read)}
    if alike:
        rows = {"": (sum(read.values()), sum(distinct.values()))}
    often = {name: (n, own) for name, (n, own) in rows.items() if own and n > limit * own}
    return [_said(name, n, own, conf) for name, (n, own) in often.items()]


def _said(source: str, read: float, distinct: int, conf: PretrainConf) -> dict[str, str]:
    segment = conf.run.segment
    what = f"source {source}" if source else "the training data"
    since = " with the segments before it" if conf.earlier.segments else ""
    return warning(
        f"segment {segment}{since} reads {what} {read / distinct:.1f} times over: {count(read)} tokens, of which "
        f"{count(distinct)} are distinct; more than {conf.run.max_epochs:g} times",
        f"add data, lower pretrain.segments.{segment}.tokens{' or its share' if source else ''}, or raise "
        "pretrain.run.max_epochs",
    )
