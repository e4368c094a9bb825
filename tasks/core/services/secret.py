"""The secret of a home: made once, its owner's alone. Each purpose has a key of its own, which tells nothing of others.

Deleting HOME/secret makes every key, password, link and cookie that came of it void.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from tasks.core.errors import HostError

NAME = "secret"


def key(home: Path, purpose: str) -> bytes:
    """32 bytes for one purpose, the same in every process of the home; the secret is made if there is none.

    Raises `HostError` if others than its owner may read the secret, or the owner is somebody else.
    """
    return hmac.digest(_secret(home), purpose.encode(), "sha256")


def word(home: Path, purpose: str) -> str:
    """The key for a purpose as 64 hex digits."""
    return key(home, purpose).hex()


def _secret(home: Path) -> bytes:
    path = home / NAME
    while True:
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)


def _read(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        about = os.fstat(file.fileno())
        if about.st_uid != os.geteuid():
            raise HostError(
                f"{path} belongs to user {about.st_uid}, and this process is of user {os.geteuid()}: a home has one "
                "owner; set FROMZERO_HOME to a folder of your own"
            )
        if stat.S_IMODE(about.st_mode) & 0o077:
            raise HostError(f"{path} can be read or written by others than its owner: delete it, a new one is made")
        found = file.read()
    if len(found) < 32:
        raise HostError(f"{path} is damaged: delete it, a new one is made")
    return found


def _make(path: Path) -> None:
    """Whole or not there, and the first of several makers wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_hex(32).encode())
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(part, path)
    part.unlink()
