"""The demo's corpus as tokens, for benchmarks of pretraining: collected, split, cleaned, without near-duplicates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from conf.compose import compose
from conf.schema.pretrain import PretrainConf
from conf.schema.recipe import Recipe
from tasks.clean import clean, clusters, filter, signatures, split
from tasks.collect import source_kinds
from tasks.collect.document_writer import Documents
from tasks.collect.listing import list_entries
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.tokenize import shards, train


def make(folder: Path, *overrides: str) -> Path:
    """SOURCE/train, SOURCE/valid and tokenizer/ in `folder`, unless they are there."""
    if (folder / "ready").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    recipe, work = compose("demo", overrides), folder / "documents"
    for source in recipe.data.sources:
        _clean(recipe, source, work / source)
    signed = {source: work / source / "signatures.parquet" for source in recipe.data.sources}
    texts = {source: _parts(work / source / "cleaned") for source in recipe.data.sources}
    out = (work / "clusters").__truediv__
    clusters.cluster_shards(signed, texts, None, out, work / "scratch", recipe.data.dedup)
    for source in recipe.data.sources:
        place, drops = work / source, work / "clusters" / source / "drop.parquet"
        filter.apply_drops(_parts(place / "cleaned"), drops, _parts(place / "kept"), place / "rejects.parquet")
    texts = [work / source / "kept" / "train" / "docs.parquet" for source in recipe.data.sources]
    (folder / "tokenizer").mkdir()
    tokenizer, _ = train.train(texts, recipe.tokenizer, work)
    train.save(tokenizer, (folder / "tokenizer").__truediv__, recipe.tokenizer)
    for source in recipe.data.sources:
        for part in shards.PARTS:
            (folder / source / part).mkdir(parents=True)
        out = (folder / source).__truediv__
        shards.write_shard(work / source / "kept", folder / "tokenizer", out, recipe.tokenizer)
    shutil.rmtree(work)
    (folder / "ready").touch()
    return folder


def _parts(folder: Path) -> Callable[[str], Path]:
    return lambda part: folder / part / "docs.parquet"


def _clean(recipe: Recipe, source: str, place: Path) -> None:
    """Collect one source; its documents split and cleaned, and their signatures."""
    place.mkdir(parents=True)
    options = recipe.data.sources[source]
    with Documents(place / "docs.parquet", place / "unreadable.jsonl", source) as documents:
        source_kinds.kind(options.kind).read(list_entries(source, options), options, documents, place)
    admission = recipe.data.admission(source)
    split.split(place / "docs.parquet", _parts(place / "split"), place / "refused.parquet", admission)
    clean.clean_parts(_parts(place / "split"), _parts(place / "cleaned"), place / "unclean.parquet", recipe.data.clean)
    signatures.sign_parts(_parts(place / "cleaned"), place / "signatures.parquet", recipe.data.dedup)


def join(folder: Path, out: Path) -> Path:
    """The training tokens of `folder` with nothing between documents, each file one of them: what trainers see that do
    not keep documents apart."""
    for source in sorted(path.parent.parent for path in folder.glob("*/train/tokens.bin") if out not in path.parents):
        part = out / source.name / "train"
        part.mkdir(parents=True, exist_ok=True)
        meta = json.loads((source / "train" / "meta.json").read_text())
        tokens = np.fromfile(source / "train" / "tokens.bin", meta["dtype"])
        tokens[:-1][tokens[:-1] == meta["eos_id"]] = meta["vocab_size"] - 1
        tokens.tofile(part / "tokens.bin")
        np.save(part / "index.npy", np.array([0, len(tokens)]))
        (part / "meta.json").write_text(json.dumps({**meta, "documents": 1}))
    shutil.copytree(folder / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    return out


def job(folder: Path, root: Path, conf: PretrainConf, *, held_out: bool = False) -> PretrainJob:
    """A job over the tokens that `make` left in `folder`, its work directory new in `root`."""
    sources = sorted(path.parent.parent for path in folder.glob("*/train/tokens.bin"))
    train_on = {source.name: [str(source / "train")] for source in sources}
    valid = [str(source / "valid") for source in sources] if held_out else []
    shutil.rmtree(root, ignore_errors=True)
    found = PretrainJob(conf, train_on, valid, str(folder / "tokenizer"), None, root=str(root))
    found.work.make()
    return found
