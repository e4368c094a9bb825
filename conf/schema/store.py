"""Where artifacts are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.base import RunConf


class LocalStoreConf(RunConf):
    """A folder on this machine, or on a POSIX file system that several share."""

    kind: Literal["local"]
    """Always local."""
    path: str | None = Field(None, min_length=1)
    """The folder; None for store/ under FROMZERO_HOME."""


class S3StoreConf(RunConf):
    """A bucket on S3 or on a server that speaks its protocol, conditional writes included.

    Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, an instance's role).
    """

    kind: Literal["s3"]
    """Always s3."""
    bucket: str = Field(min_length=3, max_length=63)
    """Name of the bucket, which must exist."""
    prefix: str = "fromzero"
    """Folder inside the bucket; empty for its top."""
    endpoint: str | None = Field(None, pattern=r"^https?://[^/@]+$")
    """Address of the server (http://HOST:PORT); None for AWS."""
    region: str | None = None
    """Region of the bucket; None for what the environment says."""
    lease_seconds: float = Field(36.0, ge=30.0, le=3600.0)
    """Seconds after which a silent holder of a lease, who renews it every third of them, counts as dead; others go on
    within 5 seconds more. 30 or more: server clocks show whole seconds, and a slow disk or network must not lose it."""
    part_mb: int = Field(16, ge=5, le=1024)
    """Size in MiB above which a file is sent in parts of that size; each connection holds one in memory."""
    attempts: int = Field(8, ge=1, le=20)
    """How often one request is tried, with pauses that grow to 20 s, before the step fails and is itself retried."""
    connections: int = Field(8, ge=1, le=64)
    """How many requests a transfer has under way at once."""


StoreConf = Annotated[LocalStoreConf | S3StoreConf, Field(discriminator="kind")]
