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
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from conf.schema.source import ReadSource
from tasks.collect import endings
from tasks.core.errors import ConfigError, DataError, Transient
from tasks.core.urls import Url, secrets_in

CHUNK = 1 << 20
UNSAID = 1
"""Size of a page whose server does not say it; nobody lists an empty page."""
CHECKSUM = re.compile(r"sha256=([0-9a-f]{64})")
LATER = (429, 500, 502, 503, 504)
"""Answers after which a server is asked again, when it says so or after a growing pause."""
ATTEMPTS = 6
REDIRECTS = 10
"""Redirects in a row that are followed."""


def entries(
    source: str, urls: Iterable[str], variable: str | None = None, private: bool = False
) -> list[dict[str, Any]]:
    """What the URLs hold now, each once: its size, and as its stamp the checksum, ETag or date that the server gives.

    What is no URL is a file of URLs, one on a line. Those in the environment `variable` may hold secrets, of which no
    entry tells. `private` lets redirects lead to private addresses. Raises `ConfigError` for what is neither, or has an
    ending that is not known, and what `answered` raises.
    """
    found: dict[str, dict[str, Any]] = {}
    try:
        for url, digest in [*_listed(urls), *_of_environment(variable)]:
            if str(url) not in found:
                found[str(url)] = _entry(url, digest, private)
    except (ConfigError, DataError) as error:
        raise type(error)(f"{error} (data.sources.{source}.urls)") from error
    return list(found.values())


def download(
    entry: dict[str, Any], scratch: Path, most: int, variable: str | None = None, private: bool = False
) -> Path:
    """The file at an entry's URL, in the scratch folder: an attempt that broke off is gone on with.

    The whole URL of one that was listed in the environment `variable` is there. Raises `DataError` if it is not what
    was listed or has more than `most` bytes, `Transient` if the answer broke off.
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
        _go_on(url, entry, part, have, most, private)
    _check(part, entry)
    part.rename(whole)
    return whole


@contextmanager
def downloaded(entry: dict[str, Any], scratch: Path, conf: ReadSource, variable: str | None = None) -> Iterator[Path]:
    """What `download` gives, for as long as it is read."""
    copy = download(entry, scratch, int(conf.max_file_gb * 1e9), variable, conf.private_redirects)
    yield copy
    copy.unlink()


def _go_on(url: Url, entry: dict[str, Any], part: Path, have: int, most: int, private: bool) -> None:
    headers = {"Range": f"bytes={have}-", "If-Range": entry["etag"]} if have and entry["etag"] else {}
    with answered("GET", url, headers, private, preload_content=False) as answer:
        if _stamp(answer.headers, entry["sha256"]) != entry["stamp"]:
            raise DataError(f"{url} has changed since it was listed: run again")
        with part.open("ab" if answer.status == 206 else "wb") as file:
            for piece in answer.stream(CHUNK, decode_content=False):
                _check_size(url, entry, file.tell() + len(piece), most)
                file.write(piece)


def _check_size(url: Url, entry: dict[str, Any], size: int, most: int) -> None:
    if size > most:
        raise DataError(f"{url} has more than {most / 1e9:g} GB: raise max_file_gb of the source, or take it out")
    if size > entry["size"] > UNSAID:
        raise DataError(f"{url} sends more than the {entry['size']:,} bytes that its server said it has: take it out")


@contextmanager
def answered(
    method: str, url: Url, headers: dict[str, str] | None = None, private: bool = False, **options: Any
) -> Iterator[Any]:
    """A server's answer, asked again while it is busy, redirects followed: to public addresses and to the server that
    was named, with `private` anywhere.

    Raises `DataError` for a page that is not there, `ConfigError` for one that is refused, else `Transient`.
    """
    from urllib3 import exceptions

    try:
        answer = _followed(method, url, headers or {}, private, options)
        try:
            if answer.status >= 400:
                raise _refusal(url, answer.status)
            yield answer
        except BaseException:
            answer.close()  # what it still sends must not be taken for the answer to another request
            raise
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


def _followed(method: str, url: Url, headers: dict[str, str], private: bool, options: dict[str, Any]) -> Any:
    """The first answer that is no redirect; user and password go to the server that was named alone."""
    address, user = _with_user(url)
    at = address
    for _ in range(REDIRECTS + 1):
        own = urlsplit(at)[:2] == urlsplit(address)[:2]
        pool = _pool(public=not (own or private))
        sent = {**pool.headers, **(user if own else {}), **headers}
        answer = pool.request(method, at, headers=sent, redirect=False, **options)
        where = answer.get_redirect_location()
        if not where:
            return answer
        answer.drain_conn()
        answer.release_conn()
        at = urljoin(at, where)
        if urlsplit(at).scheme not in ("http", "https"):
            raise ConfigError(f"{url} redirects to {at[:200]!r}, which is not on the web: take it out")
    raise ConfigError(f"{url} redirects more than {REDIRECTS} times: name the page that it should end at")


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


def _length(url: Url, said: str) -> int:
    if not (said.isascii() and said.isdecimal() and len(said) < 19):
        raise DataError(f"{url}: its server says a length that is none ({said[:40]!r}): take it out, or fix the server")
    return int(said)


def _entry(url: Url, digest: str | None, private: bool) -> dict[str, Any]:
    with answered("HEAD", url, private=private) as answer:
        headers = answer.headers
    etag = headers.get("ETag", "")
    parts = urlsplit(str(url))
    return {
        "uri": str(url),
        "name": f"{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else ""),
        "size": _length(url, headers.get("Content-Length", "0")) or UNSAID,
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
        raise DataError(f"{entry['uri']} has the checksum sha256={found}, not the one that was given: fix either")


def _refusal(url: Url, status: int) -> Exception:
    if status in (404, 410):
        return DataError(f"{url} is not there ({status}): take it out, or fix it")
    if status in (401, 403, 407, 451):
        return ConfigError(f"{url}: the server refuses access ({status})")
    if status in LATER or status == 408:
        return Transient(f"{url}: the server is busy ({status})")
    return ConfigError(f"{url}: the server refuses the request ({status})")


@lru_cache(maxsize=2)
def _pool(public: bool) -> Any:
    """Connections to any address, or to public ones only."""
    from urllib3 import PoolManager, Timeout

    from tasks.collect.addresses import Patient, PublicPools

    again = Patient(
        total=ATTEMPTS, backoff_factor=0.25, backoff_jitter=0.25, status_forcelist=LATER, raise_on_status=False
    )  # fmt: skip
    name = {"User-Agent": f"fromzero/{version('fromzero')}", "Accept-Encoding": "identity"}
    return (PublicPools if public else PoolManager)(retries=again, timeout=Timeout(connect=10, read=60), headers=name)
