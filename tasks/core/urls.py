"""URLs as they may be shown: without the user, the password and the values by which a URL lets its holder in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

HIDDEN = "***"
_SECRET = (
    r"(?:x-(?:amz|goog|ms)-[\w-]+|(?:[\w.-]*[-_.])?(?:sig|signature|token|key|apikey|accesskey|secret|password|passwd"
    r"|pass|pwd|auth|authorization|credentials?|policy|sas)|awsaccesskeyid|key-pair-id|(?:access|auth|refresh|id)token)"
)
_USER = re.compile(r"(?<=://)[^/?#\s\"'<>\\]*@")
_QUERY = re.compile(rf"([?&;](?:amp;)?{_SECRET}=)[^&#\s\"'<>\\)]+", re.IGNORECASE)
_CONNECT = re.compile(r"([?&]odbc_connect=)([^&#\s\"'<>\\]+)", re.IGNORECASE)
_ODBC = re.compile(rf"(?:^|[;{{\s]){_SECRET}\s*=\s*[^;\s]", re.IGNORECASE)


def bare(text: str) -> str:
    """Any text with its URLs as they may be shown: no user or password, `***` for values that let their holder in."""
    if "://" not in text and "=" not in text:
        return text
    return _CONNECT.sub(_connect, _QUERY.sub(rf"\g<1>{HIDDEN}", _USER.sub("", text)))


def _connect(found: re.Match[str]) -> str:
    """A connection string of ODBC, whole or hidden."""
    return f"{found[1]}{HIDDEN}" if _ODBC.search(unquote(found[2].replace("+", " "))) else found[0]


def secrets_in(url: str) -> list[str]:
    """What of a URL lets its holder in, by name: `password`, `user` and names of the query; none for `***`."""
    user = _USER.search(url)
    found = [] if user is None else ["password" if ":" in user[0] else "user"]
    shown, hidden = (dict.fromkeys(_values(text)) for text in (url, bare(url)))
    return found + [name for name, value in shown if (name, value) not in hidden]


def _values(url: str) -> list[tuple[str, str]]:
    query = url.partition("?")[2].partition("#")[0]
    return [(pair.partition("=")[0], pair.partition("=")[2]) for pair in re.split("[&;]", query) if "=" in pair]


@dataclass(frozen=True)
class Url:
    """A URL that is shown, and written, as it may be; `secret` is the whole of it, to be sent to its server alone."""

    secret: str = field(repr=False)

    def __str__(self) -> str:
        return bare(self.secret)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
