"""Where everything of a user lives, and the store that a configuration names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from conf.schema.store import StoreConf
from tasks.core.errors import ConfigError
from tasks.core.store.store import Store

if TYPE_CHECKING:
    from tasks.core.store.s3_bucket import Bucket


def home() -> Path:
    """Where everything of this user's lives: FROMZERO_HOME, by default .fromzero/ in the working directory."""
    return Path(os.environ.get("FROMZERO_HOME") or ".fromzero").absolute()


def store_conf() -> StoreConf:
    """The store that the environment hands down, by default HOME/store; raises `ConfigError` if it names none."""
    from pydantic import TypeAdapter, ValidationError

    given = os.environ.get("FROMZERO_STORE") or '{"kind": "local"}'
    try:
        found: StoreConf = TypeAdapter(StoreConf).validate_json(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"FROMZERO_STORE is no store ({where + ': ' if where else ''}{first['msg']}): write "
            """'{"kind":"s3","bucket":"NAME"}' or '{"kind":"local","path":"FOLDER"}', or unset it"""
        ) from error
    return found


def open_store(conf: StoreConf | None = None) -> Store:
    """The store that `conf` names; without it the one that the environment hands down."""
    conf = store_conf() if conf is None else conf
    if conf.kind == "s3":
        from tasks.core.store.s3 import S3Backend

        return Store(S3Backend.from_conf(conf, home()))
    from tasks.core.store.local import LocalBackend

    return Store(LocalBackend(Path(conf.path).absolute() if conf.path else home() / "store", home()))


def bucket_of(store: Store) -> Bucket | None:
    """The bucket that a store is in; None for one in a folder."""
    found: Bucket | None = getattr(store.backend, "bucket", None)
    return found
