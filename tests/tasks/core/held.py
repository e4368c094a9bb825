"""A store with documents that came to different ends, written by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tasks.core.artifact import Manifest
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir

A, B, C, D, E = (digit * 32 for digit in "abcde")
COLUMNS = dict.fromkeys(("id", "source", "uri", "text"), pl.String)
REJECT = {"source": "s", "part": "train", "text": "no"}


class Made:
    """A store with artifacts of tables that were written by hand."""

    def __init__(self, folder: Path) -> None:
        self.store, self.folder = Store(LocalBackend(folder / "store")), folder

    def add(
        self, step: str, tables: Mapping[str, list[dict[str, Any]]], *inputs: Manifest, part: str | None = None
    ) -> Manifest:
        return self.link(step, *((one, part) for one in inputs), tables=tables)

    def link(
        self,
        step: str,
        *inputs: tuple[Manifest, str | None],
        tables: Mapping[str, list[dict[str, Any]]] | None = None,
    ) -> Manifest:
        """An artifact made from these parts of others."""
        key = hashlib.sha256(f"{step}{[(one.key, part) for one, part in inputs]}".encode()).hexdigest()
        work = Workdir(self.folder / "work" / key)
        work.make()
        for name, rows in (tables or {"content/weights.parquet": [{"w": 1}]}).items():
            (work.root / name).parent.mkdir(parents=True, exist_ok=True)
            pl.DataFrame(rows, schema=None if rows else COLUMNS).write_parquet(work.root / name)
        refs = tuple(
            {"step": m.step, "key": m.key, "digest": m.digest, "part": part, "shard": "s-000"} for m, part in inputs
        )
        return self.store.publish(work, Manifest(step, key, {}, "", "", (), {}, refs, {}, "s-000"))


def rows(*ids: str) -> list[dict[str, str]]:
    return [{"id": id_, "source": "s", "uri": f"s/{id_[0]}", "text": id_} for id_ in ids]


def chain(folder: Path) -> Store:
    """A is trained on, B held out; C is dropped as a duplicate of A, E for its overlap with B; D is cleaned away."""
    made = Made(folder)
    fetched = made.add("fetch_shard", {"content/docs.parquet": rows(A, B, C, D, E)})
    split = made.add(
        "split_shard", {"content/train/docs.parquet": rows(A, C, D, E), "content/test/docs.parquet": rows(B)}, fetched
    )
    cleaned = made.add("clean_shard", {
        "content/train/docs.parquet": rows(A, C, E), "content/test/docs.parquet": rows(B),
        "aux/rejects.parquet": [{"id": D, "uri": "s/d", "reason": "min_words", "detail": "3 < 8", **REJECT}],
    }, split)  # fmt: skip
    signed = made.add("sign_shard", {}, cleaned)
    filtered = made.add("filter_shard", {
        "content/train/docs.parquet": rows(A, E), "content/test/docs.parquet": rows(B),
        "aux/rejects.parquet": [{"id": C, "uri": "s/c", "reason": "near_duplicate", "detail": f"kept: {A}", **REJECT}],
    }, cleaned, signed)  # fmt: skip
    evalset = made.add("freeze_evalset", {"content/test.parquet": rows(B)}, filtered)
    ready = made.add(
        "decontaminate_shard",
        {
            "content/train/docs.parquet": rows(A),
            "content/valid/docs.parquet": [],
            "aux/rejects.parquet": [
                {"id": E, "uri": "s/e", "reason": "overlaps_evalset", "detail": f"{B}: 9 of 9 word 13-grams", **REJECT}
            ],
        },
        filtered,
        evalset,
    )
    made.add("train_tokenizer", {}, ready, part="train")
    made.add("check_valid", {}, ready, part="valid")
    model = made.add("pretrain", {}, made.add("tokenize_shard", {}, ready))
    made.add("evaluate_lm", {}, model, evalset)
    return made.store
