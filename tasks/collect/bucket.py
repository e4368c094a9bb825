"""Objects in S3 buckets; endpoint and credentials come from the environment, as boto3 reads them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, DataError, FromzeroError, Transient

CHUNK = 1 << 20
RANGE = 16 << 20
"""Bytes of an object that are read in one request."""
CONNECTIONS = 8
PAUSES = (0.5, 1, 2, 4, 8, 8, 8)
"""Seconds between attempts at a range."""


@dataclass(frozen=True)
class Object:
    """One object of a bucket."""

    key: str
    size: int
    etag: str


def listed(bucket: str, prefix: str) -> Iterator[Object]:
    """All objects whose key starts with `prefix`, page by page; raises as `translated` says."""
    with translated(f"s3://{bucket}/{prefix}"):
        for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Contents", ()):
                yield Object(found["Key"], found["Size"], found["ETag"].strip('"'))


def download(uri: str, etag: str, to: Path) -> None:
    """Copy an object to a file, in ranges read beside each other; `DataError` if it is not the one with this etag.

    Where a range breaks off it is gone on with: a server that goes away is waited for, as `PAUSES` says.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    wanted = {"Bucket": bucket, "Key": key, "IfMatch": f'"{etag}"'}
    with translated(uri), to.open("wb") as file, ThreadPoolExecutor(CONNECTIONS) as pool:
        size = _client().head_object(**wanted)["ContentLength"]
        ranges = [(start, min(start + RANGE, size)) for start in range(0, size, RANGE)]
        for read in [pool.submit(_read, wanted, file.fileno(), *ends) for ends in ranges]:
            read.result()


def _read(wanted: dict[str, str], file: int, start: int, end: int) -> None:
    """Write the bytes from `start` to before `end` to their place in an open file."""
    from botocore import exceptions

    pauses = iter(PAUSES)
    while start < end:
        try:
            for chunk in _client().get_object(**wanted, Range=f"bytes={start}-{end - 1}")["Body"].iter_chunks(CHUNK):
                written = os.pwrite(file, chunk, start)
                start += written
                if written < len(chunk):
                    break
        except (exceptions.BotoCoreError, exceptions.ClientError) as error:
            passing = not isinstance(error, exceptions.ClientError) or _status(error.response) >= 500
            pause = next(pauses, None) if passing else None
            if pause is None:
                raise
            time.sleep(pause)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what boto3 raises into our errors: `ConfigError` for access, `DataError` for absence, else `Transient`."""
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise ConfigError(
            f"{uri}: no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL for a "
            "server other than Amazon's"
        ) from error
    except exceptions.ClientError as error:
        raise _of_answer(uri, error.response) from error
    except (exceptions.ParamValidationError, exceptions.InvalidRegionError) as error:
        raise ConfigError(f"{uri}: {error}") from error
    except exceptions.BotoCoreError as error:
        raise Transient(f"{uri}: {error}") from error


def _of_answer(uri: str, response: Any) -> FromzeroError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = _status(response)
    if code == "NoSuchBucket":
        return DataError(f"{uri}: there is no such bucket on this server (AWS_ENDPOINT_URL says which server)")
    if status in (404, 412):
        return DataError(f"{uri} has changed or gone since it was listed: run again")
    if status in (401, 403) or code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"):
        return ConfigError(f"{uri}: the server refuses access ({code}): check AWS_ACCESS_KEY_ID and its rights")
    if 400 <= status < 500 and status not in (408, 429):
        return ConfigError(f"{uri}: the server refuses the request ({status} {code})")
    return Transient(f"{uri}: {status} {code}")


def _status(response: Any) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _client() -> Any:
    return _client_of(tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@lru_cache(maxsize=1)
def _client_of(environment: tuple[tuple[str, str], ...]) -> Any:
    """One client as long as the environment stays the same; making one takes longer than fetching a small object."""
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "max_attempts": 5}
    return boto3.Session().client("s3", config=Config(retries=retries, max_pool_connections=CONNECTIONS))
