"""How much texts have in common with those that were wanted, as functions of sums over them.

chrF (Popović 2015) and BLEU (Papineni et al. 2002) are made from the counts that sacrebleu (Post 2018) takes of each
text, ROUGE-L (Lin 2004) from the longest common subsequence of words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from tasks.evaluate.bootstrap import Floats, with_interval
from tasks.evaluate.metric import ItemMetric, mean, ratio
from tasks.models.sequence import overlap_metrics
from tasks.models.sequence.sequence_options import SequenceEval
from tasks.text.words import terms

BETA = 2.0
"""How much recall counts beside precision in chrF."""
ORDERS = 4
"""Words in BLEU's longest runs."""


def counted(wanted: Sequence[str], said: Sequence[str], tokenize: str, prefix: str = "") -> list[pl.Series]:
    """Columns chrf and bleu (lists of counts) and rouge_l of texts, `prefix` before their names."""
    from sacrebleu.metrics.bleu import BLEU as Bleu
    from sacrebleu.metrics.chrf import CHRF as ChrF

    pairs = list(zip(said, wanted, strict=True))
    chrf, bleu = ChrF(), Bleu(tokenize=tokenize)
    counts = {
        "chrf": [chrf._extract_corpus_statistics([one], [[other]])[0] for one, other in pairs],
        "bleu": [bleu._extract_corpus_statistics([one], [[other]])[0] for one, other in pairs],
    }
    words = [terms(pl.Series(texts, dtype=pl.String)) for texts in (said, wanted)]
    common = [rouge_l(list(one), list(other)) for one, other in zip(*words, strict=True)]
    columns = [pl.Series(f"{prefix}{name}", rows, dtype=pl.List(pl.Int64)) for name, rows in counts.items()]
    return [*columns, pl.Series(f"{prefix}rouge_l", common, dtype=pl.Float64)]


def rouge_l(said: Sequence[str], wanted: Sequence[str]) -> float:
    """F1 of the longest words that both texts have in one order: 2 common / (words of both)."""
    if not said or not wanted:
        return 0.0
    ends = np.zeros(len(wanted) + 1, np.int64)
    for word in said:
        before = ends.copy()
        for place, other in enumerate(wanted):
            ends[place + 1] = before[place] + 1 if word == other else max(before[place + 1], ends[place])
    return 2 * float(ends[-1]) / (len(said) + len(wanted))


def chrf_of(sums: Floats) -> Floats:
    """From sums (…, 18): for each order from 1 to 6 letters the runs said, wanted and in both; precision and recall are
    means over the orders of which both texts have runs."""
    said, wanted, both = (sums[..., n::3] for n in range(3))
    known = (said > 0) & (wanted > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [np.where(known, both / side, 0).sum(-1) / np.maximum(known.sum(-1), 1) for side in (said, wanted)]
        weighted = BETA**2 * means[0] + means[1]
        found: Floats = 100 * np.where(weighted > 0, (1 + BETA**2) * means[0] * means[1] / weighted, 0.0)
    return found


def bleu_of(sums: Floats) -> Floats:
    """From sums (…, 10): words said and wanted, and for each order from 1 to 4 words the runs in both and said; an
    order of which none is in both counts as half of one, the next such as a quarter (sacrebleu's smoothing exp)."""
    said, wanted, both, runs = sums[..., 0], sums[..., 1], sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    none = both == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        smoothed = np.where(none, 0.5 ** np.cumsum(none, axis=-1), both) / runs
        score = np.exp(np.log(smoothed).mean(-1)) * np.exp(np.minimum(0.0, 1 - wanted / said))
    found: Floats = 100 * np.where((runs > 0).all(-1) & (both.sum(-1) > 0), score, 0.0)
    return found


def _counts(name: str, width: int) -> ItemMetric:
    metric = {"chrf": (overlap_metrics.CHRF, chrf_of), "bleu": (overlap_metrics.BLEU, bleu_of)}[name]

    def columns(items: pl.DataFrame) -> Floats:
        return np.asarray(items[name].to_list(), np.float64).reshape(items.height, width)

    return ItemMetric(metric[0], (name,), columns, metric[1])


CHRF, BLEU = _counts("chrf", 18), _counts("bleu", 2 + 2 * ORDERS)
ROUGE_L = ItemMetric(overlap_metrics.ROUGE_L, ("rouge_l",), lambda items: ratio(items, "rouge_l", pl.lit(1.0)), mean)
ALL = (CHRF, BLEU, ROUGE_L)


def measure(items: pl.DataFrame, conf: SequenceEval, prefix: str = "") -> dict[str, float]:
    """chrf, bleu and rouge_l of items, each with _lo and _hi; `prefix`: before a baseline's columns and figures."""
    own, found = items.select(pl.col(f"{prefix}{one.name}").alias(one.name) for one in ALL), dict[str, float]()
    for one in ALL:
        found |= with_interval(
            f"{prefix}{one.name}", one.columns(own), one.value, conf.resamples, conf.seed, conf.confidence
        )
    return found
