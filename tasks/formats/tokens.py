"""Files of tokens, memory-mapped: the ids of documents one after another, and an index of where each ends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from tasks.core.errors import ArtifactError, DataError

Ints = npt.NDArray[np.int64]


SAMPLE = 1000
"""Documents of a file that are looked at before it is trusted."""


@dataclass(frozen=True)
class TokenFile:
    """One tokens.bin with its index of documents, memory-mapped."""

    folder: Path
    tokens: npt.NDArray[Any]
    index: Ints
    vocab_size: int
    eos_id: int

    @classmethod
    def open(cls, folder: Path) -> TokenFile:
        """Map tokens.bin, index.npy and meta.json; raises `DataError` naming the file that does not fit."""
        try:
            meta = json.loads((folder / "meta.json").read_text())
            dtype = np.dtype(str(meta["dtype"])).newbyteorder("<")
            index = np.load(folder / "index.npy", allow_pickle=False).astype(np.int64)
            total, size = int(meta["tokens"]), (folder / "tokens.bin").stat().st_size
            vocab, eos = int(meta["vocab_size"]), int(meta["eos_id"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder} is not a shard of tokens: {error}; make it again with tokenize_shard") from error
        if size != total * dtype.itemsize or not len(index) or int(index[-1]) != total:
            raise DataError(
                f"{folder}/tokens.bin has {size} bytes, its index ends at token {index[-1:]} "
                f"and meta.json says {total} tokens: make it again with tokenize_shard"
            )
        tokens = np.memmap(folder / "tokens.bin", dtype=dtype, mode="r") if total else np.zeros(0, dtype)
        if any(int(tokens[end - 1]) != eos for end in index[1:SAMPLE]):
            raise DataError(f"{folder}: a document does not end with token {eos}: make it again with tokenize_shard")
        return cls(folder, tokens, index, vocab, eos)


@dataclass(frozen=True)
class TokenShard:
    """One part of a tokenized shard, read through a memory map."""

    tokens: NDArray[Any]
    index: NDArray[np.int64]
    meta: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> TokenShard:
        """Map the files of PART/; raises `ArtifactError` if their sizes do not fit together."""
        meta = json.loads((folder / "meta.json").read_text())
        index = np.load(folder / "index.npy", allow_pickle=False)
        dtype = np.dtype(meta["dtype"]).newbyteorder("<")
        path = folder / "tokens.bin"
        if path.stat().st_size != meta["tokens"] * dtype.itemsize or index[-1] != meta["tokens"]:
            raise ArtifactError(f"{path} does not fit its index: make it again (fromzero run --refresh tokenize_shard)")
        tokens = np.memmap(path, dtype, mode="r") if meta["tokens"] else np.empty(0, dtype)
        return cls(tokens, index, meta)

    def __len__(self) -> int:
        return len(self.index) - 1

    def __getitem__(self, document: int) -> NDArray[Any]:
        """The ids of one document (counted from 0), without the eos at its end."""
        if not 0 <= document < len(self):
            raise IndexError(f"document {document} of {len(self)}")
        found: NDArray[Any] = self.tokens[self.index[document] : self.index[document + 1] - 1]
        return found
