"""The errors of S3, sorted into the tree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as boto

from tasks.core.errors import ArtifactError, ConfigError, Conflict, Transient

SETTINGS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.ParamValidationError,
    boto.SSOError,
    boto.InvalidConfigError,
)
CREDENTIALS = {"AccessDenied", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
PASSING = {"BadDigest", "XAmzContentChecksumMismatch", "RequestTimeout", "IncompleteBody", "SlowDown", "InternalError"}


@contextmanager
def sorted_errors(where: str, name: str) -> Iterator[None]:
    """Raise what goes wrong inside as one of the tree, naming the store `where` and the object.

    `FileNotFoundError` for an object that is not there, `Conflict` for a condition that does not hold.
    """
    try:
        yield
    except boto.ClientError as error:
        raise _sort(error, where, name) from error
    except SETTINGS as error:
        fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise ConfigError(f"store {where}: {error}; {fix}") from error
    except boto.BotoCoreError as error:
        raise Transient(f"store {where} cannot be reached ({name}): {error}") from error


def _sort(error: Any, where: str, name: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return ConfigError(f"store {where}: there is no such bucket; create it or set store.bucket")
    if code == "RequestTimeTooSkewed":
        return ConfigError(f"store {where}: this machine's clock is wrong; set it and run again")
    if code in REGION or status in (301, 307):
        return ConfigError(f"store {where}: the bucket is in another region ({code}); set store.region")
    if status in (401, 403) or code in CREDENTIALS:
        fix = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights to list, read, write and delete"
        return ConfigError(f"store {where} refuses {error.operation_name} of {name!r} ({code}): {fix}")
    if status in (409, 412) or code == "PreconditionFailed":
        return Conflict(f"{name} was changed by another writer")
    if status == 404:
        return FileNotFoundError(f"{name} is not in {where}")
    if status >= 500 or status == 429 or code in PASSING:
        return Transient(f"store {where} failed ({name}): {error}")
    return ArtifactError(f"store {where} ({name}): {error}")
