"""Train a byte-level BPE tokenizer and save it as transformers loads it.

Every text can be written with the 256 bytes, so there is no unknown token and decoding gives back the exact text.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from conf.schema.tokenize import TokenizerConf
from tasks.core.errors import DataError
from tasks.tokenize.texts import read_texts

SAMPLE = 512
"""Documents of each shard on which the tokenizer is measured."""
_TEMPLATES = Path(__file__).with_name("templates")


def use_threads() -> None:
    """Let tokenizers use threads, as many as RAYON_NUM_THREADS says, unless the environment forbids it."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def train(docs: Sequence[Path], conf: TokenizerConf) -> Tokenizer:
    """Train on the texts of all tables in their order, read as a stream; the same texts give the same tokenizer.

    Raises `DataError` if there is no text.
    """
    use_threads()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=conf.vocab_size,
        min_frequency=conf.min_frequency,
        special_tokens=list(conf.special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    seen = [0]
    tokenizer.train_from_iterator(_counted(docs, seen), trainer)
    if not seen[0]:
        raise DataError("there is no text to train a tokenizer on: the train parts of all shards are empty")
    return tokenizer


def _counted(docs: Sequence[Path], seen: list[int]) -> Iterator[list[str]]:
    for path in docs:
        for texts, _ in read_texts(path):
            seen[0] += len(texts)
            yield texts


def save(tokenizer: Tokenizer, out: Callable[[str], Path], conf: TokenizerConf) -> None:
    """Write the files from which `AutoTokenizer.from_pretrained` makes the same tokenizer."""
    tokenizer.save(str(out("tokenizer.json")), pretty=False)
    named = {"bos_token": conf.eos_token, "eos_token": conf.eos_token, "pad_token": conf.pad_token}
    special = {**named, "additional_special_tokens": list(conf.special_tokens[2:])}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": conf.max_length,
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        "model_input_names": ["input_ids", "attention_mask"],
    }
    _write_json(out("tokenizer_config.json"), {**settings, **special})
    _write_json(out("special_tokens_map.json"), special)
    if conf.chat_template:
        template = (_TEMPLATES / f"{conf.chat_template}.jinja").read_text(encoding="utf-8")
        out("chat_template.jinja").write_text(template.rstrip("\n"), encoding="utf-8")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(tokenizer: Tokenizer, docs: Sequence[Path]) -> dict[str, dict[str, float]]:
    """For each source: bytes_per_token and tokens_per_word (fertility), on the first documents of each table."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for path in docs:
        for text, source in _sample(path):
            total = totals[source]
            total[0] += len(text.encode())
            total[1] += len(tokenizer.encode(text, add_special_tokens=False).ids)
            total[2] += len(text.split())
    return {source: _ratios(*total) for source, total in sorted(totals.items())}


def _ratios(size: int, tokens: int, words: int) -> dict[str, float]:
    return {
        "bytes_per_token": round(size / max(tokens, 1), 4),
        "tokens_per_word": round(tokens / max(words, 1), 4),
    }


def _sample(docs: Path) -> Iterator[tuple[str, str]]:
    taken = 0
    for texts, sources in read_texts(docs):
        yield from zip(texts, sources, strict=True)
        taken += len(texts)
        if taken >= SAMPLE:
            return


def train_tokenizer(docs: Sequence[Path], out: Callable[[str], Path], conf: TokenizerConf) -> dict[str, Any]:
    """Train, save and measure; returns vocab_size (as it came out) and the measures of each source."""
    tokenizer = train(docs, conf)
    save(tokenizer, out, conf)
    return {"vocab_size": tokenizer.get_vocab_size(), "sources": measure(tokenizer, docs)}
