"""Files of tokens: the ids of all documents of a part end to end, memory-mapped, and an index of where each begins.

tokens.bin   little-endian uint16 or uint32, each document ended by the eos id
index.npy    int64, documents + 1: where each document begins, and the end
meta.json    dtype, vocab_size, eos_id, documents, tokens, bytes (of the text, in UTF-8)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.errors import DataError, FromzeroError

Ints = npt.NDArray[np.int64]

TOKENS, INDEX, META = "tokens.bin", "index.npy", "meta.json"
IGNORE = -100
"""The label of a token that the loss leaves out (torch's ignore_index)."""
SAMPLE = 1000
"""Documents of a file that are looked at before it is trusted."""
AGAIN = "make it again (fromzero run --refresh tokenize_shard)"


def dtype_for(vocab_size: int) -> np.dtype[Any]:
    """The smallest type that holds every id."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def read_meta(folder: Path) -> dict[str, Any]:
    """What meta.json says; raises `OSError` or `ValueError` if it cannot be read."""
    return dict(json.loads((folder / META).read_bytes()))


def vocab_size_of(folder: Path) -> int:
    """The size of the vocabulary that a file's ids are of; raises `DataError` if it does not say."""
    try:
        return int(read_meta(folder)["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / META}: {error}; {AGAIN}") from error


def holds_tokens(folder: Path) -> bool:
    """Whether a file of tokens is there and holds any."""
    return (folder / TOKENS).exists() and (folder / TOKENS).stat().st_size > 0


@dataclass(frozen=True)
class TokenFile:
    """One tokens.bin with its index of documents, memory-mapped."""

    folder: Path
    tokens: npt.NDArray[Any]
    """The ids; none if the file ends within one."""
    index: Ints
    meta: dict[str, Any]
    size: int
    """Bytes of tokens.bin."""
    vocab_size: int
    eos_id: int

    @classmethod
    def open(cls, folder: Path, broken: type[FromzeroError] = DataError) -> TokenFile:
        """Map the files in a folder; raises `broken`, naming the file, if they do not fit each other."""
        try:
            file = cls.unchecked(folder)
            total = int(file.meta["tokens"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise broken(f"{folder} is not a shard of tokens: {error}; {AGAIN}") from error
        if file.size != total * file.tokens.itemsize or not len(file.index) or int(file.index[-1]) != total:
            raise broken(
                f"{folder / TOKENS} does not fit its index: {TOKENS} has {file.size} bytes, the index ends at token "
                f"{file.index[-1:]} and {META} says {total} tokens: {AGAIN}"
            )
        if any(int(file.tokens[end - 1]) != file.eos_id for end in file.index[1:SAMPLE]):
            raise broken(f"{folder}: a document does not end with token {file.eos_id}: {AGAIN}")
        return file

    @classmethod
    def unchecked(cls, folder: Path) -> TokenFile:
        """Map the files in a folder whether they fit each other or not; raises `OSError`, `ValueError`, `KeyError` or
        `TypeError` if one of them is none at all."""
        meta, path = read_meta(folder), folder / TOKENS
        index = np.load(folder / INDEX, allow_pickle=False).astype(np.int64, copy=False)
        dtype, size = np.dtype(str(meta["dtype"])).newbyteorder("<"), path.stat().st_size
        whole = size and not size % dtype.itemsize
        tokens = np.memmap(path, dtype=dtype, mode="r") if whole else np.empty(0, dtype)
        return cls(folder, tokens, index, meta, size, int(meta["vocab_size"]), int(meta["eos_id"]))

    def __len__(self) -> int:
        return len(self.index) - 1

    def __getitem__(self, document: int) -> npt.NDArray[Any]:
        """The ids of one document (counted from 0), without the eos at its end."""
        if not 0 <= document < len(self):
            raise IndexError(f"document {document} of {len(self)}")
        found: npt.NDArray[Any] = self.tokens[self.index[document] : self.index[document + 1] - 1]
        return found


class TokenWriter:
    """Writes the files of a folder as a stream: what is there of an earlier attempt is overwritten."""

    def __init__(self, folder: Path, vocab_size: int, eos_id: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._dtype = folder, dtype_for(vocab_size)
        self._lengths, self._bytes = [np.zeros(1, np.int64)], 0
        self.meta = {"dtype": self._dtype.name, "vocab_size": vocab_size, "eos_id": eos_id}
        """What meta.json says, once all is written."""
        self._file = (folder / TOKENS).open("wb")

    def add(self, ids: npt.NDArray[Any], lengths: Ints, size: int) -> None:
        """Append documents, each ended by the eos, which its `lengths` counts as well; `size`: bytes of their texts."""
        self._file.write(ids.astype(self._dtype, copy=False).tobytes())
        self._lengths.append(lengths)
        self._bytes += size

    def __enter__(self) -> TokenWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            index = np.cumsum(np.concatenate(self._lengths))
            np.save(self.folder / INDEX, index)
            self.meta |= {"documents": len(index) - 1, "tokens": int(index[-1]), "bytes": self._bytes}
            (self.folder / META).write_text(json.dumps(self.meta, indent=1) + "\n")
