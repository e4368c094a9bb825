"""Read a model registry without importing MLflow: its database as a SQLite file or through SQLAlchemy, its server
through HTTP."""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tasks.core.databases.sqlite_file import PATIENCE
from tasks.core.errors import HostError, Transient

API = "/api/2.0/mlflow"
FILE = re.compile(r"sqlite:///([^?]+)")
"""The URI of a database in a file, without options."""
T = TypeVar("T")
DELETED = "Deleted_Internal"
"""The stage that MLflow gives to deleted versions, whose rows it keeps."""


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: int
    tags: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    location: str = ""
    """Folder or URI of its files; empty if they were deleted in MLflow."""

    @property
    def digest(self) -> str | None:
        """Digest of its weights' folder, if it was registered by us."""
        return self.tags.get("fromzero.digest")

    def read_tag(self, name: str, kind: type[T]) -> T | None:
        """A tag that holds JSON of some kind; None also for what people have made of it."""
        try:
            found = json.loads(self.tags.get(name, "null"))
        except ValueError:
            return None
        return found if isinstance(found, kind) else None


class Source(Protocol):
    """Where a registry is read."""

    def names(self) -> list[str]:
        """Names of all registered models, sorted."""

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model by number; none if there is no such model."""

    def sizes(self, location: str) -> dict[str, int] | None:
        """Sizes of the files in a location by relative path; None if that cannot be told from here."""

    def place(self, location: str) -> str:
        """The folder, or the URI, of a location's files."""


def source(uri: str) -> Source:
    """The registry behind a tracking URI."""
    return Server(uri.rstrip("/")) if uri.startswith(("http://", "https://")) else Database(uri)


class Database:
    """MLflow's own SQL database, read only."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def names(self) -> list[str]:
        return [str(row["name"]) for row in self._rows("SELECT name FROM registered_models ORDER BY name")]

    def versions(self, name: str) -> list[ModelVersion]:
        tags: dict[int, dict[str, str]] = {}
        for row in self._rows('SELECT version, "key" AS k, value FROM model_version_tags WHERE name = :name', name):
            tags.setdefault(row["version"], {})[row["k"]] = row["value"]
        aliases: dict[int, list[str]] = {}
        for row in self._rows("SELECT alias, version FROM registered_model_aliases WHERE name = :name", name):
            aliases.setdefault(row["version"], []).append(row["alias"])
        gone = "SELECT model_id FROM logged_models WHERE lifecycle_stage = 'deleted'"
        deleted = {f"models:/{row['model_id']}" for row in self._rows(gone)}
        query = "SELECT version, current_stage, source, storage_location FROM model_versions WHERE name = :name"
        rows = [row for row in self._rows(query + " ORDER BY version", name) if row["current_stage"] != DELETED]
        return [
            ModelVersion(
                name, v := int(row["version"]), tags.get(v, {}), tuple(sorted(aliases.get(v, ()))),
                "" if row["source"] in deleted else row["storage_location"] or row["source"] or "",
            )
            for row in rows
        ]  # fmt: skip

    def sizes(self, location: str) -> dict[str, int] | None:
        return sizes_in(location)

    def place(self, location: str) -> str:
        return location

    def _rows(self, query: str, name: str | None = None) -> Sequence[Mapping[str, Any]]:
        """What a query gives; :name stands for a name. Nothing where there is no file: looking must not leave one."""
        if not (found := FILE.fullmatch(self.uri)):
            return self._rows_of_server(query, name)
        path = Path(found[1])
        try:
            return _rows_in_file(path, query, name) if path.is_file() else []
        except sqlite3.Error as error:
            raise HostError(f"MLflow's database {self.uri} cannot be read: {error}") from error

    def _rows_of_server(self, query: str, name: str | None) -> Sequence[Mapping[str, Any]]:
        from sqlalchemy import create_engine, text
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        engine = create_engine(self.uri, poolclass=NullPool)
        try:
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(text(query), {"name": name}).mappings()]
        except SQLAlchemyError as error:
            what = getattr(error, "orig", None) or error
            raise HostError(f"MLflow's database {engine.url!r} cannot be read: {what}") from error
        finally:
            engine.dispose()


def _rows_in_file(path: Path, query: str, name: str | None) -> list[dict[str, Any]]:
    """As every `fromzero plan` looks here, without SQLAlchemy, whose import takes a fifth of it."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE)) as base:
        base.row_factory = sqlite3.Row
        return [dict(row) for row in base.execute(query, {"name": name})]


class Server:
    """An MLflow server's REST interface; user, password or token come from MLflow's own environment variables."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def names(self) -> list[str]:
        return sorted(str(model["name"]) for model in self._pages("registered-models/search", "registered_models", {}))

    def versions(self, name: str) -> list[ModelVersion]:
        found = self._get(f"{API}/registered-models/get", {"name": name})
        if found is None:
            return []
        aliases: dict[int, list[str]] = {}
        for row in found["registered_model"].get("aliases", []):
            aliases.setdefault(int(row["version"]), []).append(row["alias"])
        quote = '"' if "'" in name else "'"
        found_rows = self._pages("model-versions/search", "model_versions", {"filter": f"name={quote}{name}{quote}"})
        rows = [row for row in found_rows if row["name"] == name]
        made = [
            ModelVersion(
                name, v := int(row["version"]), {tag["key"]: tag["value"] for tag in row.get("tags", [])},
                tuple(sorted(aliases.get(v, ()))), row.get("source", ""),
            )
            for row in rows
        ]  # fmt: skip
        return sorted(made, key=lambda version: version.version)

    def place(self, location: str) -> str:
        if not location.startswith("models:/"):
            return location
        found = self._get(f"{API}/logged-models/{location.removeprefix('models:/')}", {})
        return str(found["model"]["info"]["artifact_uri"]) if found else ""

    def sizes(self, location: str) -> dict[str, int] | None:
        location = self.place(location)
        if not location.startswith("mlflow-artifacts:"):
            return sizes_in(location)
        return self._listing(urllib.parse.urlsplit(location).path.strip("/"), "")

    def _listing(self, root: str, folder: str) -> dict[str, int]:
        query = {"path": f"{root}/{folder}".strip("/")}
        found = self._get("/api/2.0/mlflow-artifacts/artifacts", query) or {}
        sizes: dict[str, int] = {}
        for entry in found.get("files", []):
            path = f"{folder}/{entry['path'].rpartition('/')[2]}".lstrip("/")
            sizes |= self._listing(root, path) if entry.get("is_dir") else {path: int(entry.get("file_size", 0))}
        return sizes

    def _pages(self, path: str, field: str, query: dict[str, str]) -> list[dict[str, Any]]:
        rows, token = [], ""
        while True:
            page = self._get(f"{API}/{path}", query | ({"page_token": token} if token else {})) or {}
            rows += page.get(field, [])
            token = page.get("next_page_token", "")
            if not token:
                return rows

    def _get(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        request = urllib.request.Request(f"{self.uri}{path}?{urllib.parse.urlencode(query)}", headers=_credentials())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code == 404 and b"RESOURCE_DOES_NOT_EXIST" in error.read():
                return None
            raise HostError(f"MLflow at {self.uri} answers {error.code} to {path}: {error.reason}") from error
        except (OSError, ValueError) as error:
            raise Transient(
                f"MLflow at {self.uri} does not answer ({error}): start it, or unset MLFLOW_TRACKING_URI"
            ) from error


def _credentials() -> dict[str, str]:
    user, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user is not None:
        pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def folder_at(location: str) -> Path | None:
    """The local folder that a location names; None if it is not on this machine."""
    if not location or re.match(r"(?!file:)[a-z][a-z0-9+.-]+:", location):
        return None
    return Path(urllib.parse.unquote(location.removeprefix("file://")))


def sizes_in(location: str) -> dict[str, int] | None:
    """Sizes of the files below a local folder (empty if it is gone); None if the location is not on this machine."""
    if not location:
        return {}
    folder = folder_at(location)
    return (
        None
        if folder is None
        else {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    )
