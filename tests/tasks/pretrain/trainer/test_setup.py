from __future__ import annotations

import math
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from conf.schema.model import ModelConf
from tasks.formats.tokens import TokenFile
from tasks.pretrain.trainer.setup import bits_per_byte, choose_valid
from tests.tasks.pretrain import texts
from tests.tasks.pretrain.conftest import LLAMA


@pytest.mark.parametrize(("model", "known"), [(LLAMA, True), (texts.BERT, False)])
def test_nats_per_token_become_bits_per_byte_of_the_text_where_text_is_continued(
    model: ModelConf, known: bool, tmp_path: Path
) -> None:
    root = texts.write(tmp_path / "texts")
    job = texts.job(root, tmp_path / "work", model)
    found = bits_per_byte(job, *choose_valid(job))
    tokens = [int(token) for token in TokenFile.open(root / "help" / "valid").tokens]
    text = Tokenizer.from_file(str(root / "tokenizer" / "tokenizer.json")).decode(tokens[1:])
    assert len(text) > 500
    assert found == (pytest.approx((len(tokens) - 1) / len(text.encode()) / math.log(2)) if known else None)
    without = texts.job(root, tmp_path / "other", model)
    without.valid.clear()
    assert bits_per_byte(without, *choose_valid(without)) is None
