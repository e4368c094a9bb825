"""Which artifacts hold a document, which dropped it and why, and which were made from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.artifact import FileEntry, Manifest
from tasks.core.errors import ConfigError
from tasks.core.store.store import Store
from tasks.corpus.takedown import SHORTEST, page
from tasks.formats.document_files import DOCUMENTS_FILE, EVALUATION_FILE, REJECTS_FILE

if TYPE_CHECKING:
    import polars as pl

SOURCE, LAST = "fetch_shard", "decontaminate_shard"
"""Where documents come in, and the last step that lets documents out before training."""
VERDICT = "cluster"
"""The step whose artifact has a part for each shard: which documents leave it, and how often others were duplicated.
Nothing of a document's text gets into what is made from such a part."""
PARTS = ("train", "valid", "test")
TRAINING = ("train", "valid")
TABLES = (DOCUMENTS_FILE, EVALUATION_FILE)
"""Files that hold documents."""
DROPPED = f"aux/{REJECTS_FILE}"
BECAUSE = ("exact_duplicate", "near_duplicate", "overlaps_evalset")
"""Reasons whose detail names another document, without which this one would have passed."""

Place = tuple[str, str]
"""Step and key."""


@dataclass(frozen=True)
class Sight:
    """A document in a table of an artifact: held in a part, or dropped for a reason."""

    manifest: Manifest
    id: str
    part: str | None
    """train, valid or test; None where documents are not divided yet."""
    reason: str | None = None
    detail: str | None = None

    @property
    def place(self) -> Place:
        """Step and key of the artifact."""
        return self.manifest.step, self.manifest.key


@dataclass(frozen=True)
class Found:
    """What a store knows of some documents."""

    sights: list[Sight]
    duplicates: list[dict[str, str]]
    """id, source, uri and reason of the documents that were dropped for being like one of these."""
    looked: dict[str, set[str]]
    """Digests of all artifacts that hold documents, by step."""
    made: dict[Place, tuple[Manifest, set[str]]]
    """What holds no documents and was made from an artifact that does, with the parts that they were in there."""

    def held(self, ids: Iterable[str], steps: Iterable[str]) -> dict[str, list[str]]:
        """For each id the digests of the artifacts of some steps that hold it."""
        holding = [sight for sight in self.sights if sight.reason is None and sight.manifest.step in set(steps)]
        return {id_: [sight.manifest.digest for sight in holding if sight.id == id_] for id_ in ids}

    def rows(self) -> list[dict[str, Any]]:
        """One row for each artifact and document: step, shard, key, digest, state (held, dropped or made_from), id,
        parts, reason, detail; an artifact that was made from several has one row without id."""
        rows = []
        for sight in self.sights:
            state, parts = "dropped" if sight.reason else "held", [sight.part] if sight.part else []
            about = {"state": state, "id": sight.id, "parts": parts, "reason": sight.reason, "detail": sight.detail}
            rows.append(_named(sight.manifest) | about)
        for manifest, sides in self.made.values():
            about = {"state": "made_from", "id": None, "parts": sorted(sides), "reason": None, "detail": None}
            rows.append(_named(manifest) | about)
        return rows

    def fate(self, id_: str) -> str:
        """In words, how far a document came: into training, validation or evaluation, or why it did not."""
        own = [sight for sight in self.sights if sight.id == id_]
        kept = {sight.part for sight in own if sight.reason is None and sight.manifest.step == LAST}
        if kept:
            return "in the training data" if "train" in kept else "in the validation data, which is not trained on"
        if any(sight.part == "test" and sight.reason is None for sight in own):
            return "held out for evaluation only"
        dropped = {f"{sight.reason} ({sight.detail})": sight for sight in own if sight.reason}
        if dropped:
            return f"dropped before training: {'; '.join(dropped)}"
        return "collected; no training data were made of it"


def _named(manifest: Manifest) -> dict[str, Any]:
    return {"step": manifest.step, "shard": manifest.shard, "key": manifest.key, "digest": manifest.digest}


def resolve(store: Store, doc: str) -> list[dict[str, str]]:
    """id, source and uri of the documents that an id, the start of one, a uri, or the web address of a page in a web
    archive names.

    A uri may name several: what it held at several times. Raises `ConfigError` for what is not there, or a start that
    several ids share.
    """
    import polars as pl

    short = re.fullmatch(rf"[0-9a-f]{{{SHORTEST},32}}", doc)
    wanted = pl.col("uri") == doc
    if inside := page(doc):
        wanted = wanted | pl.col("uri").str.contains(inside, literal=True)
    wanted = wanted | pl.col("id").str.starts_with(doc) if short else wanted
    by_step = [[SOURCE], [step for step in store.steps() if step != SOURCE]]
    for steps in by_step:  # the raw text is in one place; what came of it in many
        found = {
            row["id"]: {name: row[name] for name in ("id", "source", "uri")}
            for step in steps
            for manifest in store.manifests(step)
            for _, table in _tables(store, manifest)
            for row in _rows(table, wanted)
        }
        if found:
            break
    else:
        raise ConfigError(
            f"no document {doc!r} in this store: give its id ({SHORTEST} digits of it or more) or its uri, as "
            "`fromzero show fetch_shard` and `fromzero rejects` name them"
        )
    if short and len(found) > 1 and not any(one["uri"] == doc for one in found.values()):
        several = "\n".join(f"  {one['id']}  {one['uri']}" for one in list(found.values())[:20])
        raise ConfigError(f"{doc!r} is the start of {len(found)} ids; give more of it:\n{several}")
    return [found[id_] for id_ in sorted(found)]


def look(store: Store, ids: Iterable[str]) -> Found:
    """Look for documents in every artifact of the store, table by table, in columns of ids alone."""
    import polars as pl

    wanted = sorted(ids)
    manifests = {(manifest.step, manifest.key): manifest for manifest in store.manifests()}
    sights: list[Sight] = []
    duplicates: dict[str, dict[str, str]] = {}
    looked: dict[str, set[str]] = {}
    documents: set[Place] = set()
    for place, manifest in manifests.items():
        for path, table in _tables(store, manifest):
            if path == DROPPED:
                for row in _rows(table, pl.col("id").is_in(wanted)):
                    sights.append(Sight(manifest, row["id"], row["part"], row["reason"], row["detail"]))
                for row in _rows(table, _because_of(wanted)):
                    duplicates[row["id"]] = {name: row[name] for name in ("id", "source", "uri", "reason")}
                continue
            documents.add(place)
            looked.setdefault(manifest.step, set()).add(manifest.digest)
            sights += [Sight(manifest, row["id"], _part(path)) for row in _rows(table, pl.col("id").is_in(wanted))]
    left = [row for id_, row in sorted(duplicates.items()) if id_ not in set(wanted)]
    return Found(sights, left, looked, _made_from(manifests, documents, sights))


def _because_of(ids: list[str]) -> pl.Expr:
    """Rows that were dropped since one of these was kept, or was held out and overlaps them."""
    import polars as pl

    named = pl.col("detail").str.strip_prefix("kept: ").str.slice(0, len(ids[0]))
    return named.is_in(ids) & pl.col("reason").is_in(BECAUSE)


def _tables(store: Store, manifest: Manifest) -> Iterator[tuple[str, Path]]:
    """The tables of documents, and of dropped ones, of an artifact; nothing else of it is brought here."""
    files: tuple[FileEntry, ...] = tuple(
        file
        for file in manifest.files
        if file.path == DROPPED or (file.path.startswith("content/") and file.path.rpartition("/")[2] in TABLES)
    )
    if files:
        root = store.backend.fetch(f"{manifest.step}/{manifest.key}/{manifest.attempt}/", files)
        yield from ((file.path, root / file.path) for file in files)


def _rows(table: Path, wanted: pl.Expr) -> list[dict[str, Any]]:
    """Everything but the text of the rows that are wanted, read as a stream."""
    import polars as pl

    names = ("id", "source", "uri", "part", "reason", "detail")
    frame = pl.scan_parquet(table)
    there = [name for name in frame.collect_schema().names() if name in names]
    return frame.select(there).filter(wanted).collect(engine="streaming").to_dicts()


def _part(path: str) -> str | None:
    """content/PART/docs.parquet and content/PART.parquet are of a part."""
    name = path.split("/")[1].removesuffix(".parquet")
    return name if name in PARTS else None


def _made_from(
    manifests: Mapping[Place, Manifest], documents: set[Place], sights: Iterable[Sight]
) -> dict[Place, tuple[Manifest, set[str]]]:
    """Follow the lineage from the artifacts that hold the documents, past whatever holds documents itself: whether that
    holds these was looked up."""
    users: dict[Place, list[tuple[Place, str | None]]] = {}
    for place, manifest in manifests.items():
        for ref in manifest.inputs if place not in documents else ():
            if ref["step"] == VERDICT and ref["part"]:
                continue
            users.setdefault((ref["step"], ref["key"]), []).append((place, ref["part"]))
    reached: dict[Place, set[str]] = {}
    for sight in sights:
        if sight.reason is None and sight.part:
            reached.setdefault(sight.place, set()).add(sight.part)
    waiting, made = list(reached), dict[Place, tuple[Manifest, set[str]]]()
    while waiting:
        place = waiting.pop()
        for user, part in users.get(place, ()):
            sides = reached[place] & {part} if part in PARTS else reached[place]
            if not sides <= reached.setdefault(user, set()):
                reached[user] |= sides
                made[user] = (manifests[user], reached[user])
                waiting.append(user)
    return made
