"""Which documents a step has read: for whoever wants to know why its update was skipped.

Documents are counted from 0 in the file of tokens, which is their row in the train part of the documents that the shard
was tokenized from; their ids stand there. The tokens do not have them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.pretrain.data.batches import Order, Source


def sources_of(train: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The name of the source of each folder of tokens."""
    return {folder: name for name, folders in train.items() for folder in folders}


def samples(
    order: Order, sources: Sequence[Source], units: Iterable[int], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The sequences of a step's global batch: source, folder of tokens, block in it, and its documents' numbers."""
    found = []
    for source, block in (pick for unit in units for pick in order.batch(unit)):
        folder, number, documents = sources[source].whose(block)
        about = {"source": names.get(str(folder), ""), "tokens": str(folder), "block": number}
        found.append({**about, "documents": documents.tolist()})
    return found


def in_words(found: Sequence[Mapping[str, Any]], most: int = 4) -> str:
    """Samples in one line, the first few by name."""
    named = [
        f"{sample['source']} block {sample['block']} (document {_range(sample['documents'])})"
        for sample in found[:most]
    ]
    more = len(found) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return "none"
    return f"{numbers[0]}" if len(numbers) == 1 else f"{min(numbers)} to {max(numbers)}"
