"""Train a tokenizer and save it as transformers loads it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer

from conf.schema.tokenize import UNKNOWN, TokenizerConf
from tasks.core.errors import DataError
from tasks.formats.model_folder import SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE
from tasks.tokenize import fertility, kinds, merges
from tasks.tokenize.engines import Differs, Gigatoken, Tokenizers, fast
from tasks.tokenize.texts import read_texts

_TEMPLATES = Path(__file__).with_name("templates")


def use_threads() -> None:
    """Let tokenizers use threads, as many as RAYON_NUM_THREADS says, unless the environment forbids it."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def train(docs: Sequence[Path], conf: TokenizerConf, scratch: Path) -> tuple[Tokenizer, str]:
    """Train on the texts of all tables in their order, read as a stream; the same texts give the same tokenizer.

    Returns it and the engine that learned it, which makes no other tokenizer than the other would. `scratch` is a
    folder for a copy of the texts. Raises `DataError` if there is no text.
    """
    use_threads()
    if not any(any(batch) for batch in _texts(docs)):
        raise DataError(
            "there is no text to train a tokenizer on: no training document is left in any shard. "
            "`fromzero rejects last` lists what dropped them"
        )
    if fast(conf):
        try:
            with TemporaryDirectory(dir=scratch) as folder:
                return merges.train(lambda: _texts(docs), conf, Path(folder)), Gigatoken.name
        except Differs as difference:
            print(f"tokenizers learns the merges: {difference}")
    return kinds.train(lambda: _texts(docs), conf), Tokenizers.name


def _texts(docs: Sequence[Path]) -> Iterator[list[str]]:
    return (texts for path in docs for texts in read_texts(path))


def save(tokenizer: Tokenizer, out: Callable[[str], Path], conf: TokenizerConf) -> None:
    """Write the files from which `AutoTokenizer.from_pretrained` makes the same tokenizer."""
    tokenizer.save(str(out(TOKENIZER_FILE)), pretty=False)
    named = {"bos_token": conf.eos_token, "eos_token": conf.eos_token, "pad_token": conf.pad_token}
    if conf.kind == "wordpiece":
        named["unk_token"] = UNKNOWN
    if conf.mask_token:
        named["mask_token"] = conf.mask_token
    others = [token for token in conf.special_tokens if token not in named.values()]
    special = {**named, "additional_special_tokens": others}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": conf.max_length,
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        "model_input_names": ["input_ids", "attention_mask"],
    }
    _write_json(out(TOKENIZER_CONFIG_FILE), {**settings, **special})
    _write_json(out(SPECIAL_TOKENS_FILE), special)
    if conf.chat_template:
        template = (_TEMPLATES / f"{conf.chat_template}.jinja").read_text(encoding="utf-8")
        out("chat_template.jinja").write_text(template.rstrip("\n"), encoding="utf-8")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def train_tokenizer(
    docs: Sequence[Path], out: Callable[[str], Path], conf: TokenizerConf, scratch: Path
) -> dict[str, Any]:
    """Train, save and measure; returns vocab_size (as it came out), kind, engine, and the measures."""
    tokenizer, engine = train(docs, conf, scratch)
    save(tokenizer, out, conf)
    about = {"vocab_size": tokenizer.get_vocab_size(), "kind": conf.kind, "engine": engine}
    return {**about, **fertility.measure(tokenizer, docs)}
