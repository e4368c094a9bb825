import random

import numpy as np
import polars as pl
import pytest

from conf.schema.clean import DedupConf
from tasks.clean.signatures import exact_hash, minhash, normal_form, schema, sign
from tasks.text.words import collapse, ngrams, word_hashes

CONF = DedupConf()


def jaccard(left: str, right: str, size: int = 5) -> float:
    """The exact similarity of the sets of word shingles."""
    sets = [{tuple(t[i : i + size]) for i in range(len(t) - size + 1)} for t in (left.split(), right.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def signatures(texts: list[str], conf: DedupConf = CONF) -> np.ndarray:
    return minhash(ngrams(word_hashes(collapse(pl.Series("text", texts))), conf.shingle), conf)


def changed(words: list[str], share: float, chance: random.Random) -> str:
    """A copy with a run of its words replaced, so that the shingles outside of it stay."""
    count = int(len(words) * share)
    start = chance.randrange(len(words) - count)
    return " ".join([*words[:start], *(f"new{chance.random()}" for _ in range(count)), *words[start + count :]])


def test_the_share_of_equal_minima_estimates_the_jaccard_similarity() -> None:
    chance = random.Random(0)
    errors = []
    for n in range(200):
        words = [f"word{chance.randrange(10_000)}" for _ in range(200)]
        left, right = " ".join(words), changed(words, n / 200 * 0.9, chance)
        a, b = signatures([left, right])
        errors.append((a == b).mean() - jaccard(left, right))
    assert abs(np.mean(errors)) < 0.01
    assert np.max(np.abs(errors)) < 0.18


def test_a_signature_does_not_depend_on_the_documents_beside_it(docstrings) -> None:
    together = signatures(docstrings[:50])
    alone = np.concatenate([signatures([text]) for text in docstrings[:50]])
    assert np.array_equal(together, alone)


def test_many_shingles_are_signed_in_blocks_as_if_at_once() -> None:
    long = " ".join(f"w{n}" for n in range(40_000))
    assert np.array_equal(signatures(["a b", long, "", "c d"])[1], signatures([long])[0])


def test_an_empty_text_has_the_largest_minima_and_another_seed_others() -> None:
    assert (signatures(["", "one two"])[0] == np.iinfo(np.uint32).max).all()
    assert (signatures(["one two"]) != signatures(["one two"], DedupConf(seed=1))).mean() > 0.95


@pytest.mark.parametrize(("left", "right"), [("A  b\nC", "a b c"), ("x\ty ", " X y"), ("\u00c9", "\u00e9")])
def test_case_and_white_space_do_not_make_a_text_another(left: str, right: str) -> None:
    first, second = (exact_hash(text) for text in normal_form(pl.Series([left, right])))
    assert first == second


def test_signatures_have_one_row_for_each_document(documents, docstrings) -> None:
    frame = documents(docstrings[:20])
    signed = sign(frame, "valid", CONF)
    assert signed.schema == schema(CONF)
    assert signed["id"].to_list() == frame["id"].to_list()
    assert set(signed["part"]) == {"valid"}
    assert signed["exact"].n_unique() == 20
