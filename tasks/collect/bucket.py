"""Objects in S3 buckets; endpoint and credentials come from the environment, as boto3 reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, DataError, FromzeroError, Transient

CHUNK = 1 << 20


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
    """Copy an object to a file, if it is still the one with this etag; else `DataError`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with translated(uri), to.open("wb") as file:
        body = _client().get_object(Bucket=bucket, Key=key, IfMatch=f'"{etag}"')["Body"]
        for chunk in body.iter_chunks(CHUNK):
            file.write(chunk)


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
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return DataError(f"{uri}: there is no such bucket on this server (AWS_ENDPOINT_URL says which server)")
    if status in (404, 412):
        return DataError(f"{uri} has changed or gone since it was listed: run again")
    if status in (401, 403) or code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"):
        return ConfigError(f"{uri}: the server refuses access ({code}): check AWS_ACCESS_KEY_ID and its rights")
    if 400 <= status < 500 and status not in (408, 429):
        return ConfigError(f"{uri}: the server refuses the request ({status} {code})")
    return Transient(f"{uri}: {status} {code}")


def _client() -> Any:
    return _client_of(tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@lru_cache(maxsize=1)
def _client_of(environment: tuple[tuple[str, str], ...]) -> Any:
    """One client as long as the environment stays the same; making one takes longer than fetching a small object."""
    import boto3
    from botocore.config import Config

    return boto3.Session().client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))
