"""The merges of byte pair encoding as tokenizers learns them, learned by gigatoken in a fraction of the time.

gigatoken is young, so three things are checked, and where one does not hold tokenizers learns the merges itself: both
learn the same from the first texts; no text has a character that the two may take for different ones; and the last
merge is of a pair that is frequent enough. Counts never rise from one merge to the next, so all others are, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from conf.schema.tokenize import TokenizerConf
from tasks.tokenize import kinds
from tasks.tokenize.engines import Differs, Gigatoken, unassigned

CHECKED = 250_000
"""Characters of text, at the beginning, from which both learn."""
SOME = 4096
"""Tokens that both learn from them, at most."""
_END = "\0"
"""Stands between two texts, so none may hold it."""

Merges = list[tuple[str, str]]


def train(texts: kinds.Texts, conf: TokenizerConf, scratch: Path) -> Tokenizer:
    """The tokenizer that `kinds.train` makes of the same texts; raises `Differs` where that is not certain.

    The texts are written to a file in the folder `scratch`, which gigatoken maps into memory.
    """
    file, sample = scratch / "texts", scratch / "first_texts"
    first = _write(texts, file)
    sample.write_text(_END.join(first), encoding="utf-8", newline="")
    small = conf.model_copy(update={"vocab_size": min(conf.vocab_size, SOME)})
    wanted = _merges_of(kinds.train(lambda: iter([first]), small))
    if _learn(sample, len(wanted)) != wanted:
        raise Differs("gigatoken learns other merges than tokenizers from the first texts")
    tokenizer = _of(_learn(file, conf.vocab_size - len(kinds.alphabet()) - len(conf.special_tokens)), conf)
    if not _frequent(tokenizer, texts, conf):
        raise Differs(f"gigatoken merged pairs that may occur less than min_frequency={conf.min_frequency} times")
    return tokenizer


def _write(texts: kinds.Texts, file: Path) -> list[str]:
    """Write all texts to a file; returns the first ones."""
    first: list[str] = []
    taken = 0
    with file.open("w", encoding="utf-8", newline="") as out:
        for text in _usable(texts):
            out.write(text + _END)
            if taken < CHECKED:
                first.append(text)
                taken += len(text)
    return first


def _usable(texts: kinds.Texts) -> Iterator[str]:
    for batch in texts():
        for text in batch:
            if _END in text or (not text.isascii() and unassigned(text)):
                raise Differs(f"gigatoken may cut {text[:80]!r} otherwise than tokenizers")
            yield text


def _learn(file: Path, merges: int) -> Merges:
    from gigatoken import TextFileSource, train_bpe

    written = _characters()
    _, pairs = train_bpe(TextFileSource([str(file)], separator=_END), len(written) + merges, [])
    return [("".join(written[b] for b in left), "".join(written[b] for b in right)) for left, right in pairs]


def _characters() -> list[str]:
    """How each byte is written in a byte-level vocabulary: as itself where it can be seen, else from U+0100 on."""
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    others = iter(sorted(alphabet - set(map(chr, range(256)))))
    return [chr(byte) if chr(byte) in alphabet else next(others) for byte in range(256)]


def _merges_of(tokenizer: Tokenizer) -> Merges:
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def _of(merges: Merges, conf: TokenizerConf) -> Tokenizer:
    """A tokenizer with these merges, its ids given in tokenizers' order; raises `Differs` if they are too few."""
    tokens = [*conf.special_tokens, *kinds.alphabet(), *(left + right for left, right in merges)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    if len(vocabulary) != conf.vocab_size or len(tokens) != conf.vocab_size:
        raise Differs(f"gigatoken learned {len(vocabulary)} tokens where {conf.vocab_size} are asked for")
    tokenizer = kinds.on_bytes(models.BPE(vocabulary, merges))
    tokenizer.add_special_tokens(list(conf.special_tokens))
    return tokenizer


def _frequent(tokenizer: Tokenizer, texts: kinds.Texts, conf: TokenizerConf) -> bool:
    """Whether the last token of the vocabulary occurs often enough: no later merge has taken any of it away."""
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True
    fast, last, found = Gigatoken(plain), conf.vocab_size - 1, 0
    for batch in texts():
        ids, _ = fast.encode(batch)
        found += int(np.count_nonzero(ids == last))
        if found >= conf.min_frequency:
            return True
    return False
