"""How much a text has in common with the one that was wanted, as people know it."""

from __future__ import annotations

from tasks.formats.metrics import Metric

CHRF = Metric("chrf", "chrF", True, "of 100")
BLEU = Metric("bleu", "BLEU", True, "of 100")
ROUGE_L = Metric("rouge_l", "ROUGE-L", True, "of 1")
ALL = (CHRF, BLEU, ROUGE_L)
