"""Files on web servers: looked at with HEAD, downloaded with Range where an earlier attempt left off."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

from tasks.collect import endings
from tasks.core.errors import ConfigError, DataError, Transient
from tasks.core.urls import Url, secrets_in

CHUNK = 1 << 20
CHECKSUM = re.compile(r"sha256=([0-9a-f]{64})")
LATER = (429, 500, 502, 503, 504)
"""Answers after which a server is asked again, when it says so or after a growing pause."""
ATTEMPTS = 6


def entries(source: str, urls: Iterable[str], variable: str | None = None) -> list[dict[str, Any]]:
    """What the URLs hold now, each once: its size, and as its stamp the checksum, ETag or date that the server gives.

    What is no URL is a file of URLs, one on a line. Those in the environment `variable` may hold secrets, of which no
    entry tells. Raises `ConfigError` for what is neither, or has an ending that is not known, and what `answered`
    raises.
    """
    found: dict[str, dict[str, Any]] = {}
    try:
        for url, digest in [*_listed(urls), *_of_environment(variable)]:
            if str(url) not in found:
                found[str(url)] = _entry(url, digest)
    except (ConfigError, DataError) as error:
        raise type(error)(f"{error} (data.sources.{source}.urls)") from error
    return list(found.values())


def download(entry: dict[str, Any], scratch: Path, variable: str | None = None) -> Path:
    """The file at an entry's URL, in the scratch folder: an attempt that broke off is gone on with.

    The whole URL of one that was listed in the environment `variable` is there. Raises `DataError` if it is not what
    was listed, `Transient` if the answer broke off.
    """
    whole_urls = {str(url): url for url, _ in _of_environment(variable)}
    url, stamp = whole_urls.get(entry["uri"], Url(entry["uri"])), str(entry["stamp"])
    folder = scratch / "http" / hashlib.sha256(f"{url} {stamp}".encode()).hexdigest()[:16]
    part, whole = folder / "part", folder / "whole"
    if whole.is_file():
        return whole
    folder.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    if have != entry["size"]:
        _go_on(url, entry, part, have)
    _check(part, entry)
    part.rename(whole)
    return whole


def _go_on(url: Url, entry: dict[str, Any], part: Path, have: int) -> None:
    headers = {"Range": f"bytes={have}-", "If-Range": entry["etag"]} if have and entry["etag"] else {}
    with answered("GET", url, headers, preload_content=False) as answer:
        if _stamp(answer.headers, entry["sha256"]) != entry["stamp"]:
            raise DataError(f"{url} has changed since it was listed: run again")
        with part.open("ab" if answer.status == 206 else "wb") as file:
            for piece in answer.stream(CHUNK, decode_content=False):
                file.write(piece)


@contextmanager
def answered(method: str, url: Url, headers: dict[str, str] | None = None, **options: Any) -> Iterator[Any]:
    """A server's answer, asked again while it is busy.

    Raises `DataError` for a page that is not there, `ConfigError` for one that is refused, else `Transient`.
    """
    from urllib3 import exceptions

    try:
        address, user = _with_user(url)
        sent = {**_pool().headers, **user, **(headers or {})}
        answer = _pool().request(method, address, headers=sent, **options)
        try:
            if answer.status >= 400:
                raise _refusal(url, answer.status)
            yield answer
        finally:
            answer.release_conn()
    except exceptions.LocationValueError as error:
        raise ConfigError(f"{url} is no URL ({error}): write https://HOST/PATH") from None  # a chain shows all of it
    except exceptions.HTTPError as error:
        raise Transient(f"{url}: {error}") from None


def _with_user(url: Url) -> tuple[str, dict[str, str]]:
    """A URL without user and password, and the header that says them."""
    parts = urlsplit(url.secret)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url.secret, {}
    pair = base64.b64encode(unquote(user).encode()).decode()
    return parts._replace(netloc=host).geturl(), {"Authorization": f"Basic {pair}"}


def _of_environment(variable: str | None) -> list[tuple[Url, str | None]]:
    """The URLs in an environment variable; raises `ConfigError` naming it, never what it holds."""
    if variable is None:
        return []
    given = os.environ.get(variable, "").split()
    if not given:
        raise ConfigError(f"urls_env names {variable}, which is not set: export it")
    found = list(_listed(given, variable))
    if same := [name for name, times in Counter(str(url) for url, _ in dict.fromkeys(found)).items() if times > 1]:
        raise ConfigError(f"urls_env: {variable} holds several URLs that differ in their secret alone, as {same[0]}")
    return found


def _listed(urls: Iterable[str], variable: str | None = None) -> Iterator[tuple[Url, str | None]]:
    """(URL, sha256 or None) of each, those in files too; those of an environment `variable` may hold secrets."""
    for given in urls:
        if urlsplit(given).scheme in ("http", "https"):
            yield _with_checksum(given, given, variable)
            continue
        try:
            lines = Path(given).expanduser().read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is no text"
            said = f"is neither a URL nor a file of URLs, one on a line ({why})"
            if variable is not None:  # it may be another secret, whose variable was named by mistake
                raise ConfigError(f"urls_env: what {variable} holds {said}") from None
            raise ConfigError(f"{given} {said}") from error
        for number, line in enumerate(lines, 1):
            url = line.strip()
            if url and not url.startswith("#"):
                if urlsplit(url).scheme not in ("http", "https"):
                    raise ConfigError(f"{given}, line {number}: {url!r} is no URL: it should begin with https://")
                yield _with_checksum(url, f"{given}, line {number}", variable)


def _with_checksum(url: str, where: str, variable: str | None) -> tuple[Url, str | None]:
    bare, fragment = urldefrag(url)
    if variable is None and (found := secrets_in(bare)):
        raise ConfigError(
            f"{where}: holds a secret ({', '.join(found)}): put the URL, or the name of the file, into an environment "
            "variable, and name that in urls_env"
        )
    digest = CHECKSUM.fullmatch(fragment)
    if fragment.startswith("sha256") and digest is None:
        raise ConfigError(f"{where}: a checksum is written #sha256= and 64 hex digits")
    if not endings.split(bare):
        raise ConfigError(f"{where}: unknown file ending; known are {endings.KNOWN}, or none for a web page")
    return Url(bare), digest[1] if digest else None


def _entry(url: Url, digest: str | None) -> dict[str, Any]:
    with answered("HEAD", url) as answer:
        headers = answer.headers
    etag = headers.get("ETag", "")
    parts = urlsplit(str(url))
    return {
        "uri": str(url),
        "name": f"{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else ""),
        "size": int(headers.get("Content-Length", 0)) or 1,  # a server need not say; nobody lists an empty page
        "stamp": _stamp(headers, digest),
        "etag": "" if etag.startswith("W/") else etag,
        "sha256": digest,
    }


def _stamp(headers: Any, digest: str | None) -> str:
    """By what a changed file is known: the checksum that was given, else what the server says."""
    return digest or headers.get("ETag") or headers.get("Last-Modified") or f"{headers.get('Content-Length')} bytes"


def _check(part: Path, entry: dict[str, Any]) -> None:
    if entry["sha256"] is None:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != entry["sha256"]:
        part.unlink()
        raise DataError(f"{entry['uri']} has the checksum sha256={found}, not the one that was given: mend either")


def _refusal(url: Url, status: int) -> Exception:
    if status in (404, 410):
        return DataError(f"{url} is not there ({status}): take it out, or mend it")
    if status in (401, 403, 407, 451):
        return ConfigError(f"{url}: the server refuses access ({status})")
    if status in LATER or status == 408:
        return Transient(f"{url}: the server is busy ({status})")
    return ConfigError(f"{url}: the server refuses the request ({status})")


@lru_cache(maxsize=1)
def _pool() -> Any:
    from urllib3 import PoolManager, Retry, Timeout

    again = Retry(
        total=ATTEMPTS, backoff_factor=0.25, backoff_jitter=0.25, status_forcelist=LATER, raise_on_status=False
    )  # fmt: skip
    name = {"User-Agent": f"fromzero/{version('fromzero')}", "Accept-Encoding": "identity"}
    return PoolManager(retries=again, timeout=Timeout(connect=10, read=60), headers=name)
