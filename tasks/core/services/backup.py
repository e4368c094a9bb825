"""A home in a folder: its databases, store and models as they were at one time, and a new home made of them.

A backup is an index and the files that it names by their hashes. It is taken while servers and runs go on: what names
comes before what is named (databases and refs before artifacts), so that nothing named is missing. It is restored the
other way round.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.core.artifact import Manifest
from tasks.core.databases import home_databases
from tasks.core.databases.home_databases import Database
from tasks.core.errors import ArtifactError, ConfigError, Conflict, HostError
from tasks.core.services import servers
from tasks.core.services.file_pool import FilePool
from tasks.core.small_files import clear, write_atomically
from tasks.core.store.listed import MANIFEST
from tasks.core.store.store import Miss, Store
from tasks.core.tracking import mlflow_db

INDEX = "backup.json"
FORMAT = 1
FOLDERS = ("running", "mlflow/artifacts", "mlflow/unsent")
"""Of the home: who ran, files of registered models and of runs in MLflow, and what MLflow does not have yet."""
NAMED = ("_refs/", "_runs/")
"""Of the store: what names artifacts."""
DATABASES: dict[str, Callable[[Path], Database]] = {"mlflow": home_databases.mlflow, "prefect": home_databases.prefect}
Say = Callable[[str], None]


def backup(home: Path, store: Store, folder: Path, say: Say) -> dict[str, Any]:
    """Bring a backup in `folder` up to date, or begin one; the index. An interrupted one leaves the one before whole.

    Raises `ConfigError` for a folder that holds other things, `HostError` if a database cannot be read.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / INDEX).exists() and not (folder / "files").exists():
        raise ConfigError(f"{folder} holds other things: give an empty or new folder, or that of an earlier backup")
    pool = FilePool(folder / "files")
    index: dict[str, Any] = {"format": FORMAT, "fromzero": version("fromzero"), "home": str(home)}
    index["made"] = datetime.now(UTC).isoformat(timespec="seconds")
    index["databases"] = {name: found for name in DATABASES if (found := _dumped(home, name, pool, say))}
    index["named"] = dict(_named(store, pool))
    index["files"] = dict(_files(home, store, pool))
    index["artifacts"] = dict(_artifacts(store, pool, say))
    write_atomically(folder / INDEX, json.dumps(index).encode())
    return index


def _dumped(home: Path, name: str, pool: FilePool, say: Say) -> dict[str, str] | None:
    database = DATABASES[name](home)
    if name == "mlflow" and mlflow_db.tracking_uri(home) != database.uri:
        say("MLFLOW_TRACKING_URI names a server of its own: what MLflow keeps there is not in this backup")
        return None
    if not database.exists() or not database.revision():
        return None
    with tempfile.TemporaryDirectory(dir=home, prefix=".backup-") as folder:
        file = Path(folder) / name
        database.dump(file)
        return {"dialect": database.dialect, "sha256": pool.put(file)}


def _named(store: Store, pool: FilePool) -> Iterator[tuple[str, str]]:
    for prefix in NAMED:
        for name in sorted(store.backend.names(prefix)):
            try:
                yield name, pool.put_bytes(store.backend.read(name)[0])
            except FileNotFoundError:  # removed meanwhile
                continue


def _files(home: Path, store: Store, pool: FilePool) -> Iterator[tuple[str, str]]:
    for top in FOLDERS:
        for folder, _, names in os.walk(home / top):
            for name in names:
                path = Path(folder, name)
                try:
                    yield str(path.relative_to(home)), pool.put(path)
                except FileNotFoundError:  # removed meanwhile
                    continue


def _artifacts(store: Store, pool: FilePool, say: Say) -> Iterator[tuple[str, str]]:
    """STEP/KEY of each whole artifact, and the hash of its manifest, which names its files."""
    for manifest in store.manifests():
        name = f"{manifest.step}/{manifest.key}"
        try:
            if not all(pool.at(file.sha256).exists() for file in manifest.files):
                local = store.local(manifest)
                for file in manifest.files:
                    pool.put(local / file.path, file.sha256)
            yield name, pool.put_bytes(manifest.to_json())
        except (ArtifactError, FileNotFoundError) as error:  # damaged, or removed meanwhile
            say(f"x {name} is left out: {error}")


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a backup; raises `ConfigError` for a folder that is none."""
    try:
        found = dict(json.loads((folder / INDEX).read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} is no backup: `fromzero backup` writes {INDEX} there when it is whole") from error
    if found.get("format") != FORMAT:
        raise ConfigError(f"{folder} was written by another fromzero ({found.get('fromzero')}): restore it with that")
    return found


def restore(home: Path, store: Store, folder: Path, postgres: str | None, say: Say) -> dict[str, Any]:
    """Make a new home of a backup, each file checked by its hash where it was written; the index.

    One that was interrupted goes on. Raises `ConfigError` if the home has records of its own, `ArtifactError` for a
    backup that is damaged.
    """
    index, pool = read_index(folder), FilePool(folder / "files")
    _fits(index, folder, postgres)
    if servers.running(home) is not None:
        raise ConfigError(f"{home} is in use: set FROMZERO_HOME to a new folder, or `fromzero down` first")
    home_databases.choose(home, postgres)
    known = _begun(home, folder)
    for number, (name, sha256) in enumerate(sorted(index["artifacts"].items())):
        _bring(home, store, pool, Manifest.from_json(pool.read(sha256), name))
        if number % 200 == 199:
            say(f"{number + 1} of {len(index['artifacts'])} artifacts")
    for name, sha256 in index["named"].items():
        _name(store, name, pool.read(sha256))
    for name, sha256 in index["files"].items():
        pool.get(sha256, home / name)
    for name, about in index["databases"].items():
        if name not in known:
            _load(home, name, pool, about["sha256"])
            known.append(name)
            write_atomically(home / "restoring.json", json.dumps(known).encode())
    if "prefect" in index["databases"]:
        servers.migrate(home)
    mlflow_db.check(home)
    (home / "restoring.json").unlink()
    return index


def _fits(index: dict[str, Any], folder: Path, postgres: str | None) -> None:
    dialects = {about["dialect"] for about in index["databases"].values()}
    if "postgresql" in dialects and postgres is None:
        raise ConfigError(
            f"{folder} was taken of a home on Postgres: name the one to restore it to with --postgres URL"
        )
    if "sqlite" in dialects and postgres is not None:
        raise ConfigError(f"{folder} was taken of a home with SQLite files: leave --postgres out")


def _begun(home: Path, folder: Path) -> list[str]:
    """Which databases an interrupted restore has brought; raises `ConfigError` if any is there of another origin."""
    note = home / "restoring.json"
    try:
        known = list(json.loads(note.read_bytes()))
    except FileNotFoundError:
        known = []
        for name, where in DATABASES.items():
            database = where(home)
            if database.exists() and database.revision():
                raise ConfigError(
                    f"{home} has records of its own ({name}'s, in {database}): set FROMZERO_HOME to a new folder, or, "
                    "on Postgres, give another NAME"
                ) from None
        write_atomically(note, json.dumps(known).encode())
    return known


def _bring(home: Path, store: Store, pool: FilePool, manifest: Manifest) -> None:
    """Put one artifact into the store, its manifest last."""
    if not isinstance(store.look(manifest.step, manifest.key), Miss):
        return
    place = f"{manifest.step}/{manifest.key}/"
    stage = home / ".restoring" / manifest.attempt
    clear(stage)
    store.backend.remove(place)
    for file in manifest.files:
        pool.get(file.sha256, stage / file.path)
    stage.mkdir(parents=True, exist_ok=True)
    store.backend.adopt(stage, f"{place}{manifest.attempt}/", manifest.files)
    store.backend.write(f"{place}{MANIFEST}", manifest.to_json(), None)
    clear(home / ".restoring")


def _name(store: Store, name: str, data: bytes) -> None:
    try:
        store.backend.write(name, data, None)
    except Conflict:
        if store.backend.read(name)[0] != data:
            raise ConfigError(
                f"the store has {name} already, and it says other things than the backup: restore into an empty store"
            ) from None


def _load(home: Path, name: str, pool: FilePool, sha256: str) -> None:
    database = DATABASES[name](home)
    with tempfile.TemporaryDirectory(dir=home, prefix=".restore-") as folder:
        file = Path(folder) / name
        pool.get(sha256, file)
        database.make()
        database.load(file)
    if not database.revision():
        raise HostError(f"{database} is empty after it was restored: the backup's copy of it is of another program")
