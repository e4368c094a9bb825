"""The labels of documents: one for each text, or several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.formats.documents import with_targets
from tasks.text import targets

Truth = NDArray[np.bool_]
"""(items, classes): which of the classes an item has."""


def labels_of(table: pl.LazyFrame, several: bool) -> pl.DataFrame:
    """(id, text, label) of the documents with a label, in order of id; `several`: label is a list of names, the target
    `labels`, which may be empty."""
    if not several:
        chosen = table.select("id", "text", "label").filter(pl.col("label").is_not_null())
        return chosen.sort("id").collect()
    found = with_targets(table)
    held = [targets.read(one).get("labels") for one in found["targets"]]
    whole = found.select("id", "text").with_columns(pl.Series("label", held, dtype=pl.List(pl.String)))
    return whole.filter(pl.col("label").is_not_null())


def each_label(labels: pl.Series) -> pl.Series:
    """The labels of all documents, each as often as documents have it."""
    return labels.explode().drop_nulls() if isinstance(labels.dtype, pl.List) else labels


def truth_of(labels: pl.Series, names: Sequence[str]) -> Truth:
    """Which of the names each item has."""
    held = labels.to_list() if isinstance(labels.dtype, pl.List) else [[label] for label in labels]
    return np.array([[name in one for name in names] for one in held], dtype=np.bool_).reshape(len(held), len(names))
