"""What the noise of an objective needs to know of a tokenizer, read from the files in its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conf.schema.model import ModelConf
from conf.schema.tokenize import SENTINEL
from tasks.core.errors import ConfigError, DataError
from tasks.formats.model_folder import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE
from tasks.formats.tokens import Ints

Flags = npt.NDArray[np.bool_]
AGAIN = "and train the tokenizer again (--refresh train_tokenizer)"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens by id: where words begin, and what stands for what is hidden."""

    begins: Flags
    """Whether a word begins with the token, whatever is before it."""
    ends: Flags
    """Whether a word ends with the token, whatever follows."""
    special: Flags
    eos: int
    pad: int | None
    mask: int | None
    sentinels: Ints
    """Those of <extra_id_0>, <extra_id_1>, …, as far as there is none missing."""

    @property
    def ordinary(self) -> Ints:
        """The ids of all tokens that are not special."""
        return np.flatnonzero(~self.special)

    def check(self, conf: ModelConf, seq_len: int) -> None:
        """Raise `ConfigError` if a token is missing that the objective of `conf` needs."""
        wanted = conf.noise.most_spans(seq_len)
        if conf.resolved_objective != "causal" and self.pad is None:
            raise ConfigError(f"the tokenizer has no token that fills up: set tokenizer.pad_token {AGAIN}")
        if conf.resolved_objective == "masked" and self.mask is None:
            raise ConfigError(
                f"the tokenizer has no token that hides a word, which {conf.architecture} needs: set "
                f"\"tokenizer.mask_token='[MASK]'\" {AGAIN}"
            )
        if conf.resolved_objective == "span" and len(self.sentinels) < wanted:
            raise ConfigError(
                f"the tokenizer has {len(self.sentinels)} tokens that hide a span ({SENTINEL.format(0)}, …) and "
                f"{conf.architecture} needs {wanted}: set tokenizer.sentinels={wanted} or more {AGAIN}"
            )


def read(folder: Path, size: int, eos: int) -> Vocabulary:
    """The vocabulary of `size` tokens in a tokenizer's folder; raises `DataError` if its files are no tokenizer's.

    Words are told as the tokenizer does it: on bytes (bpe, unigram) a word begins with white space, in WordPiece with
    any token without ##. On bytes a token without letters and digits is a word by itself, as it is in WordPiece.
    """
    try:
        raw = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
        settings = json.loads((folder / TOKENIZER_CONFIG_FILE).read_text(encoding="utf-8"))
        named = _named(raw["model"])
        added = {token["content"]: int(token["id"]) for token in raw["added_tokens"]}
        special = np.zeros(size, np.bool_)
        special[[int(token["id"]) for token in raw["added_tokens"] if token["special"]]] = True
        begins, ends = _borders({**named, **added}, raw["model"], size)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{folder} is no tokenizer of {size} tokens: {error!r}; make it again") from error
    hiding = (added.get(SENTINEL.format(number)) for number in range(len(added)))
    sentinels: list[int] = []
    for token in hiding:
        if token is None:
            break
        sentinels.append(token)
    pad, mask = (added.get(_content(settings.get(name))) for name in ("pad_token", "mask_token"))
    return Vocabulary(begins, ends, special, eos, pad, mask, np.array(sentinels, np.int64))


def byte_lengths(folder: Path, size: int) -> Ints | None:
    """How many bytes of text each of `size` tokens stands for, special ones for none; None for a tokenizer that does
    not work on bytes."""
    try:
        raw = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
        if raw["decoder"]["type"] != "ByteLevel":
            return None
        lengths = np.zeros(size, np.int64)
        for name, token in _named(raw["model"]).items():
            lengths[token] = len(name)  # a character of such a vocabulary is a byte
        for token in raw["added_tokens"]:
            lengths[int(token["id"])] = 0 if token["special"] else len(token["content"].encode())
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return lengths


def _named(model: Mapping[str, Any]) -> dict[str, int]:
    """The tokens' ids by how the model of a tokenizer writes them."""
    listed = model["vocab"]
    return dict(listed) if isinstance(listed, dict) else {piece: at for at, (piece, _) in enumerate(listed)}


def _content(token: Any) -> str:
    """The text of a token as settings name it: by itself, or in an object with its properties."""
    return str(token["content"] if isinstance(token, dict) else token)


def _borders(named: Mapping[str, int], model: Mapping[str, Any], size: int) -> tuple[Flags, Flags]:
    begins, ends = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    continued = str(model.get("continuing_subword_prefix") or "") if model.get("type") == "WordPiece" else ""
    for name, token in named.items():
        if continued:
            begins[token] = not name.startswith(continued)
        else:
            text = bytes(_bytes().get(character, 0) for character in name).decode("utf-8", "replace")
            # A piece of a character (U+FFFD) may be one of a letter; white space belongs to the word that follows.
            ends[token] = not (text.isspace() or re.search(r"[^\W_]|\ufffd", text))
            begins[token] = ends[token] or text[:1].isspace()
    return begins, ends


@cache
def _bytes() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2's table): printable ones for
    themselves, the others for characters from U+0100 on."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    moved = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(256 + at): byte for at, byte in enumerate(moved)}
