"""chrF, BLEU and ROUGE-L from sums, beside sacrebleu and by hand."""

from __future__ import annotations

from itertools import combinations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU as SacreBleu
from sacrebleu.metrics.chrf import CHRF as SacreChrf

from tasks.models.sequence.overlap import ALL, BLEU, CHRF, counted, measure, rouge_l
from tasks.models.sequence.sequence_options import SequenceEval
from tasks.models.summarization.lead import lead

SAID = ["the", "cat", "sat", "on", "mat", "\u732b", "d\u2019\u00e9t\u00e9,"]
WORDS = st.lists(st.sampled_from(SAID), max_size=9).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_chrf_and_bleu_of_sums_are_sacrebleu_s_of_the_corpus(pairs: list[tuple[str, str]]) -> None:
    said, wanted = [one for one, _ in pairs], [other for _, other in pairs]
    items = pl.DataFrame(counted(wanted, said, "13a"))
    for ours, theirs in ((CHRF, SacreChrf()), (BLEU, SacreBleu())):
        found = float(ours.value(ours.columns(items).sum(axis=0)))
        assert found == pytest.approx(theirs.corpus_score(said, [wanted]).score, abs=1e-6)


@pytest.mark.parametrize("tokenize", ["zh", "char"])
def test_bleu_of_chinese_is_sacrebleu_s(tokenize: str) -> None:
    said, wanted = ["\u6211\u559c\u6b22\u732b\u548c\u72d7"], ["\u6211\u5f88\u559c\u6b22\u732b\u548c\u72d7"]
    items = pl.DataFrame(counted(wanted, said, tokenize))
    theirs = SacreBleu(tokenize=tokenize).corpus_score(said, [wanted]).score
    assert float(BLEU.value(BLEU.columns(items).sum(axis=0))) == pytest.approx(theirs)


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_rouge_l_is_the_longest_common_subsequence(said: list[str], wanted: list[str]) -> None:
    def within(part: tuple[str, ...], whole: list[str]) -> bool:
        rest = iter(whole)
        return all(one in rest for one in part)

    longest = max(n for n in range(len(said) + 1) if any(within(part, wanted) for part in combinations(said, n)))
    wanted_value = 2 * longest / (len(said) + len(wanted)) if said and wanted else 0.0
    assert rouge_l(said, wanted) == pytest.approx(wanted_value)


def test_every_figure_has_its_interval_and_a_baseline_its_own() -> None:
    wanted, said, other = ["the cat sat", "a dog"], ["the cat sat", "a dog ran"], ["no", "none"]
    items = pl.DataFrame([*counted(wanted, said, "13a"), *counted(wanted, other, "13a", "copy_")])
    conf = SequenceEval(resamples=100)
    ours, theirs = measure(items, conf), measure(items, conf, "copy_")
    for one in ALL:
        assert ours[f"{one.name}_lo"] <= ours[one.name] <= ours[f"{one.name}_hi"]
    assert theirs["copy_chrf"] < ours["chrf"] and theirs["copy_rouge_l"] < ours["rouge_l"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One. Two! Three? Four.", "One. Two! Three?"),
        ("\u4e00\u3002\u4e8c\uff01\u4e09\uff1f\u56db\u3002", "\u4e00\u3002\u4e8c\uff01\u4e09\uff1f"),
        ("3.5 is a number. Two", "3.5 is a number. Two"),
        ("a\nb\nc\nd", "a\nb\nc"),
        ("", ""),
    ],
)
def test_the_lead_is_three_sentences_in_every_script(text: str, wanted: str) -> None:
    assert lead(text) == wanted
