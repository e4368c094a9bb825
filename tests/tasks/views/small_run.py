"""A small store with the artifacts of one run, made by hand: what each step leaves, in its own format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from tasks.core.artifact import Manifest
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir

EVIL = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&"
FERTILITY = {"bytes_per_token": 2.5, "tokens_per_word": 1.5, "gpt2": {"bytes_per_token": 4.0, "tokens_per_word": 1.25}}
COUNTS = {"documents_in": 10, "documents_out": 8, "bytes_in": 5000, "bytes_out": 4000}


class Made:
    """A store and the record of the run that made what is in it."""

    def __init__(self, folder: Path) -> None:
        self.store, self.folder, self.steps = Store(LocalBackend(folder / "store")), folder, list[dict[str, Any]]()

    def add(self, step: str, *inputs: Manifest, files: Mapping[str, Any] | None = None, shard: str | None = None,
            state: str = "completed", seconds: float = 2.0, **stats: Any) -> Manifest:  # fmt: skip
        """Publish an artifact with these files (rows of a parquet or JSON-lines file, or JSON), and record the step."""
        key = hashlib.sha256(f"{step}{shard}{len(self.steps)}".encode()).hexdigest()
        work = Workdir(self.folder / "work" / key)
        work.make()
        for name, value in (files or {"content/x.json": len(self.steps)}).items():
            _write(work.root / name, value)
        refs = tuple({"step": m.step, "key": m.key, "digest": m.digest, "part": None, "shard": m.shard} for m in inputs)
        made_by = {"host": "here", "device": "cpu", "python": "3.11.7", "cpus": 2, "seconds": seconds, "attempts": 1,
                   "finished": "2026-11-24T10:00:00", "git": {"commit": "c0ffee" * 6, "dirty": True},
                   "code": {"polars": "2.1.0"}}  # fmt: skip
        draft = Manifest(step, key, {}, "", "", (), stats, refs, made_by, shard)
        manifest = self.store.publish(work, draft)
        self.record_step(step, state, manifest, seconds=seconds)
        return manifest

    def record_step(self, step: str, state: str, manifest: Manifest | None = None, **more: Any) -> None:
        """A line of the run's record."""
        known = (manifest.shard, manifest.key, manifest.digest) if manifest else (None, "e" * 64, None)
        names = dict(zip(("shard", "key", "digest"), known, strict=True))
        self.steps.append({"step": step, "state": state, "seconds": 1.0, "attempts": 1, "message": "", **names, **more})

    def record(self, state: str, **more: Any) -> dict[str, Any]:
        """The record of the run."""
        about = {"run": "0123-4567", "name": "small-2026", "recipe": "small", "state": state, "started": 1.8e9}
        model = {"name": "small-base", "version": 2, "kind": "base", "primary": True, "aliases": []}
        return {**about, "seconds": 65.0, "steps": self.steps, "models": [model], "urls": {}, **more}


def chain(folder: Path, verdict: str = "", floors: tuple[dict[str, Any], ...] = ()) -> Made:
    """Everything from the source to a gate that refuses; texts, reasons and names are hostile."""
    made = Made(folder)
    docs = [{"source": f"s{EVIL}", "licence": "MIT", "text": "a"}] * 3
    fetched = made.add("fetch_shard", shard="s-000", rows=10, bytes=5000, repeated=1, empty=0, unreadable=1, files={
        "content/docs.parquet": docs,
        "aux/unreadable.jsonl": [{"file": EVIL, "position": 3, "reason": f"torn {EVIL}"}],
    })  # fmt: skip
    reject = {"text": f"dropped {EVIL}", "source": "s", "uri": "u", "part": "train", "detail": EVIL}
    cleaned = made.add(
        "clean_shard", fetched, shard="s-000", parts={"train": {**COUNTS, "reasons": {"too_short": 2}}},
        files={"content/train/docs.parquet": docs, "aux/rejects.parquet": [{**reject, "reason": "too_short"}] * 5},
    )  # fmt: skip
    made.add("cluster", cleaned, documents=8, recomputed={"dropped": 3, "accepted": 2})
    ready = made.add(
        "decontaminate_shard", cleaned, shard="s-000", parts={"train": {**COUNTS, "reasons": {}}},
        evaluation_items={f"item {EVIL}": 3},
        files={"content/train/docs.parquet": docs},
    )  # fmt: skip
    made.add(
        "repeat_shard", ready, shard="s-000", documents=1, tokens=250, bytes=900, repeated=1, times={"2": 1},
        once={"documents": 8, "tokens": 2000},
    )  # fmt: skip
    tokenizer = made.add(
        "train_tokenizer", ready, vocab_size=300, sources={"s": FERTILITY}, languages={"s": {"en": FERTILITY}},
        files={"content/tokenizer.json": {"added_tokens": [{"content": EVIL}], "model": {"vocab": {"Ġthe": 0}}}},
    )  # fmt: skip
    curve = [{"step": n, "time": 0, "loss": 9 - n, "learning_rate": 1e-3, "tokens_per_second": 100} for n in (1, 2, 3)]
    curve += [{"step": 3, "time": 9, "loss": 5.5, "valid_loss": 5.0}, {"step": 4, "time": 9, "loss": 5.25}]
    wrote = [
        {"step": n, "samples": [{"prompt": EVIL, "text": f"at {n}: {EVIL}"}, {"prompt": "", "text": "from nothing"}]}
        for n in range(1, 8)
    ]
    model = made.add("pretrain", ready, tokenizer, files={"content/x": 1, "aux/metrics.jsonl": curve,
                     "aux/samples.jsonl": wrote}, seconds=7200.0)  # fmt: skip
    ours = made.add("evaluate_lm", model, metrics=_metrics(3.0), files={
        "content/samples.json": [{"prompt": EVIL, "how": "greedy", "text": f"said {EVIL}" + "\n" * 30}],
        "content/confusion.json": {"labels": ["a", EVIL], "matrix": [[3, 1], [0, 0]]},
        "content/calibration.json": [{"items": 4, "confidence": 0.7, "accuracy": 0.75}],
    })  # fmt: skip
    theirs = made.add("evaluate_lm", metrics=_metrics(2.5), state="cached")
    decision = {"accepted": False, "first": False, "rule": "superior", "metric": "bits_per_byte", "margin": 0.0,
                "items": 50, "confidence": 0.95, "reasons": [f"not proven superior {EVIL}"],
                **({"verdict": verdict, "floors": floors} if verdict else {})}  # fmt: skip
    made.add("gate", ours, theirs, files={"content/decision.json": decision}, **decision)
    made.record_step(
        "promote_model", "refused", message="small-base version 2 is not promoted\n  reason      it is worse"
    )
    return made


def _metrics(value: float) -> dict[str, float]:
    ends = {"bits_per_byte_lo": value - 0.1, "bits_per_byte_hi": value + 0.1, "gzip_bits_per_byte": 2.9}
    return {"bits_per_byte": value, "bits_per_byte/s": value, **ends}


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(value), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in value))
    else:
        path.write_text(json.dumps(value))
