"""Who may ask the servers of a home for what: people and their roles, passwords, cookies and links that let in once.

Everything follows from the home's secret, so that there is no list of users to keep: a password belongs to a name and
a role, and a new secret makes all of them void.
"""

from __future__ import annotations

import base64
import getpass
import hmac
import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, urlencode

from tasks.core.errors import ConfigError
from tasks.core.services import secret

ROLES = ("reader", "promoter", "owner")
"""Who looks; who looks and promotes; who does everything."""
PROGRAM = "owner"
"""The name by which the home's own processes ask."""
LINK_HOURS = 12.0
"""Hours in which a link that lets in once can be used."""
COOKIE_DAYS = 30.0
"""Days for which a browser stays let in."""
LOGINS = "logins"
"""Folder of the home with a file for each link that nobody has used yet."""


@dataclass(frozen=True)
class Person:
    """Somebody who was let in."""

    name: str
    role: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ConfigError(f"there is no role {self.role!r}: take one of {', '.join(ROLES)}")
        if not self.name or len(self.name) > 60 or not self.name.isprintable() or ":" in self.name:
            raise ConfigError(f"{self.name!r} is no name: 1 to 60 printable characters without a colon")


def owner() -> Person:
    """Whoever runs this process."""
    try:
        return Person(getpass.getuser(), "owner")
    except (KeyError, OSError, ConfigError):  # a user id without a name, as in many containers
        return Person(f"user {os.geteuid()}", "owner")


def password(home: Path, person: Person) -> str:
    """What a program shows, with the name, in a person's place."""
    return secret.word(home, f"password {person.role} {person.name}")


def of_password(home: Path, name: str, given: str) -> Person | None:
    """Whose name and password these are."""
    for role in ROLES:
        with suppress(ConfigError):
            person = Person(name, role)
            if hmac.compare_digest(password(home, person).encode(), given.encode()):
                return person
    return None


def credentials(home: Path) -> tuple[str, str]:
    """Name and password of the home's own processes."""
    return PROGRAM, password(home, Person(PROGRAM, "owner"))


def authorization(home: Path) -> str:
    """The HTTP header of the home's own processes."""
    return f"Basic {base64.b64encode(':'.join(credentials(home)).encode()).decode()}"


def of_authorization(home: Path, header: str) -> Person | None:
    """Who shows this HTTP header."""
    kind, _, rest = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, _, given = base64.b64decode(rest, validate=True).decode().partition(":")
    except ValueError:
        return None
    return of_password(home, name, given)


def cookie_name(home: Path) -> str:
    """Different for each home: browsers keep one set of cookies for all ports of a host."""
    return f"fromzero-{secret.word(home, 'cookie name')[:12]}"


def cookie(home: Path, person: Person) -> str:
    """What the browser of a person keeps."""
    until = time.time() + COOKIE_DAYS * 86_400
    said = base64.urlsafe_b64encode(json.dumps([person.name, person.role, until]).encode()).decode()
    return f"{said}.{secret.word(home, f'cookie {said}')}"


def of_cookie(home: Path, value: str) -> Person | None:
    """Whose cookie it is, while it holds."""
    said, _, seal = value.partition(".")
    if not hmac.compare_digest(secret.word(home, f"cookie {said}").encode(), seal.encode()):
        return None
    name, role, until = json.loads(base64.urlsafe_b64decode(said))
    return Person(name, role) if time.time() < until else None


def link(home: Path, pages: str, person: Person | None = None, to: str = "/") -> str:
    """An address below `pages` that lets a person (whoever runs this process) in once, and shows `to`."""
    person, token = person or owner(), secrets.token_hex(16)
    folder = home / LOGINS
    folder.mkdir(mode=0o700, exist_ok=True)
    _forget_old(folder)
    path = _file(folder, token)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(person) | {"until": time.time() + LINK_HOURS * 3600}, file)
    return f"{pages}/login?{urlencode({'once': token} | ({'to': to} if to != '/' else {}), quote_via=quote)}"


def redeem(home: Path, token: str) -> Person | None:
    """Whom a link lets in; afterwards it lets in nobody."""
    path = _file(home / LOGINS, token)
    taken = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(taken)  # of several at once one gets it
    except FileNotFoundError:
        return None
    about = json.loads(taken.read_bytes())
    taken.unlink()
    return Person(about["name"], about["role"]) if time.time() < about["until"] else None


def _file(folder: Path, once: str) -> Path:
    return folder / sha256(once.encode()).hexdigest()


def _forget_old(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # just used
            if time.time() - path.stat().st_mtime > LINK_HOURS * 3600:
                path.unlink()
