from __future__ import annotations

import gzip
import math
from pathlib import Path

import polars as pl
import pytest

from conf.schema.evaluate import EvaluateRun
from tasks.evaluate import scoring
from tasks.models.causal_lm import bits_per_byte
from tasks.models.causal_lm.lm_options import LmEval
from tests.tasks.tiny_model import table

CPU = EvaluateRun(device="cpu", threads=1)
CONF = LmEval(window=64, stride=48, run=CPU)


def test_a_document_pays_for_each_of_its_tokens_and_for_its_end(model_dir: Path) -> None:
    model, tokenizer = scoring.load_causal(model_dir, scoring.set_up(CPU)), scoring.load_tokenizer(model_dir)
    items = bits_per_byte.score(model, tokenizer, table([{"text": "array é axis"}]), CONF)
    assert items["tokens"][0] == len(tokenizer("array é axis")["input_ids"]) + 1
    assert items["bytes"][0] == len("array é axis".encode())
    per_token = items["nats"][0] / items["tokens"][0]
    assert per_token == pytest.approx(math.log(320), rel=0.05), "a random model is about as good as guessing"


def test_bits_per_byte_weighs_documents_by_their_bytes() -> None:
    items = pl.DataFrame(
        {"source": ["a", "b"], "bytes": [300, 100], "tokens": [100, 50], "nats": [300 * math.log(2), 0.0]}
    )
    metrics = bits_per_byte.measure(items, CONF)
    assert metrics["bits_per_byte"] == pytest.approx(0.75)
    assert metrics["bits_per_byte/a"] == pytest.approx(1.0) and metrics["bits_per_byte/b"] == 0
    assert metrics["perplexity"] == pytest.approx(math.exp(2 * math.log(2)))
    assert metrics["bits_per_byte_lo"] <= 0.75 <= metrics["bits_per_byte_hi"]


def test_gzip_is_measured_on_all_documents_as_one_stream() -> None:
    text = "the same words over and over. " * 5
    alone, together = bits_per_byte.gzip_nats([text]), bits_per_byte.gzip_nats([text] * 50)
    assert len(together) == 50 and sum(together) / 50 < sum(alone) / 10


MANY = [f"line {n % 7} of {n}\n" * (n % 40) for n in range(300)]


@pytest.mark.parametrize("texts", [["a"], ["", "é" * 3, "\n"], MANY])
def test_what_documents_add_to_gzip_sums_up_to_the_size_of_the_whole(texts: list[str]) -> None:
    whole = gzip.compress("\n".join(texts).encode(), compresslevel=9, mtime=0)
    assert sum(bits_per_byte.gzip_nats(texts)) == pytest.approx(8 * len(whole) * math.log(2))
