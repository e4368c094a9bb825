"""Two engines that turn texts into ids: tokenizers, and gigatoken, many times faster, as long as its ids are the same.

gigatoken is young: it is checked against tokenizers on documents of every shard, and what the two may see differently,
characters that Unicode had not assigned when Python's tables were made, goes to tokenizers at once.
"""

from __future__ import annotations

import json
import unicodedata
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from conf.schema.tokenize import TokenizerConf
from tasks.core.errors import HostError

CHECKED = 32
"""Documents at the beginning of a shard of which the ids are compared; of every later batch one."""
FULL = 0x378
"""Below there is no place without a character."""
RARE = 0x40000
"""From here on there are hardly any characters (tags of flags, private use): not worth a table four times as large."""


class Differs(Exception):
    """gigatoken gave other ids than tokenizers."""


class Engine(Protocol):
    """Texts to ids."""

    name: str

    def encode(self, texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The ids of all texts end to end, and how many each has; special tokens in a text are plain text."""


class Tokenizers:
    """The engine that tokenizer.json is written for."""

    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def encode(self, texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """See `Engine`."""
        found = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        lengths = np.array([len(ids) for ids in found], np.int64)
        return np.concatenate([np.zeros(0, np.uint32), *(np.array(ids, np.uint32) for ids in found)]), lengths


class Gigatoken:
    """gigatoken, watched; raises `Differs` when its ids are not those of tokenizers."""

    name = "gigatoken"

    def __init__(self, tokenizer: Tokenizer) -> None:
        from gigatoken import Tokenizer as Fast

        self.slow = Tokenizers(tokenizer)
        # Without its special tokens it takes them as plain text.
        self.fast: Any = Fast.from_json(json.dumps({**json.loads(tokenizer.to_str()), "added_tokens": []}))
        self.batches = 0

    def encode(self, texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """See `Engine`."""
        odd = {n for n, text in enumerate(texts) if not text.isascii() and unassigned(text)}
        rows = self.fast.encode_batch(["" if n in odd else text for n, text in enumerate(texts)], parallel=False)
        ids = np.asarray(rows.layout.content.data)
        lengths = np.diff(np.asarray(rows.layout.offsets.data)).astype(np.int64)
        self._check(texts, ids, lengths, odd)
        if not odd:
            return ids, lengths
        parts = np.split(ids, np.cumsum(lengths)[:-1])
        for n in odd:
            parts[n], lengths[n : n + 1] = self.slow.encode([texts[n]])
        return np.concatenate(parts), lengths

    def _check(self, texts: list[str], ids: NDArray[np.uint32], lengths: NDArray[np.int64], odd: set[int]) -> None:
        chosen = range(min(CHECKED, len(texts))) if not self.batches else [self.batches % max(len(texts), 1)]
        self.batches += 1
        ends = np.cumsum(lengths)
        for n in [n for n in chosen if n < len(texts) and n not in odd]:
            wanted, _ = self.slow.encode([texts[n]])
            if not np.array_equal(wanted, ids[ends[n] - lengths[n] : ends[n]]):
                raise Differs(f"gigatoken gives other ids than tokenizers for {texts[n][:80]!r}")


@cache
def _table() -> NDArray[np.bool_]:
    return np.array([unicodedata.category(chr(point)) == "Cn" for point in range(RARE)] + [True])


def unassigned(text: str) -> bool:
    """Whether a text has a character that has no place in Python's tables of Unicode, or one from `RARE` on."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    points = points[points >= FULL]
    return bool(len(points)) and bool(_table()[np.minimum(points, RARE)].any())


def fast(conf: TokenizerConf) -> bool:
    """Whether gigatoken is to be tried; raises `HostError` if it is asked for and not installed."""
    if conf.kind != "bpe" or conf.run.engine == "tokenizers":
        return False
    if find_spec("gigatoken") is not None:
        return True
    if conf.run.engine == "gigatoken":
        raise HostError("tokenizer.run.engine=gigatoken is not installed: pip install gigatoken, or set it to auto")
    return False


def engines(tokenizer: Tokenizer, conf: TokenizerConf) -> list[Engine]:
    """What to try, the first first."""
    plain = Tokenizers(tokenizer)
    return [Gigatoken(tokenizer), plain] if fast(conf) else [plain]
