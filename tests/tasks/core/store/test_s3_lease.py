"""Leases on S3: held through renewals, lost to another, passed on when their holder dies."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.store import S3StoreConf
from tasks.core.errors import ArtifactError, Conflict, Transient
from tasks.core.store.s3 import S3Backend
from tasks.core.store.s3_lease import LOOK_EVERY, expired, longest_wait
from tests.s3_server import S3Server
from tests.tasks.core.backends import S3Place

SHORT = 6.0
"""Seconds of a lease that is to be lost."""
KEPT = 20.0
"""Seconds of one that is to be kept by its renewals, also by those that a slow disk holds up."""
HOLDER = """
import json, sys, time
from pathlib import Path
from tests.tasks.core.backends import S3Place
fields = json.loads(sys.argv[1])
lease = S3Place(**fields | {"home": Path(fields["home"])}).backend().lock("train/key", timeout=300)
print(lease.epoch, flush=True)
for line in sys.stdin:
    print(lease.held(), flush=True)
"""


class Holder:
    """Another process that holds the lease."""

    def __init__(self, place: S3Place) -> None:
        fields = json.dumps(dataclasses.asdict(place) | {"home": str(place.home)})
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, fields],
            cwd=Path(__file__).parents[4],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None and self._process.stdin is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.epoch = int(self._out.readline())

    def held(self) -> bool:
        self._in.write("?\n")
        self._in.flush()
        return self._out.readline().strip() == "True"

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@given(
    seconds=st.integers(30, 3600) | st.floats(30.0, 3600.0),
    written=st.floats(0.0, 1e6),
    elapsed=st.floats(0.0, 8000.0),
)
def test_no_lease_is_taken_over_within_its_term_and_each_is_within_the_longest_wait(
    seconds: float, written: float, elapsed: float
) -> None:
    measured = float(math.floor(written + elapsed) - math.floor(written))  # as Date and LastModified show it
    free = expired(measured, seconds)
    assert not (free and elapsed <= seconds), "its holder may still be at work"
    assert free or elapsed + LOOK_EVERY < longest_wait(seconds) + 1e-6, "the next look comes too late"


def test_a_holder_that_dies_is_waited_for_at_most_45_seconds_unless_told_otherwise(tmp_path: Path) -> None:
    conf = S3StoreConf(kind="s3", bucket="models", endpoint="http://localhost:1", region="us-east-1")
    assert longest_wait(S3Backend.from_conf(conf, tmp_path).lease_seconds) <= 45
    assert S3Backend("models", "", tmp_path, region="us-east-1").lease_seconds == conf.lease_seconds


def lasting(place: S3Place, seconds: float) -> S3Place:
    """The same place, its leases of another term."""
    return dataclasses.replace(place, lease_seconds=seconds)


@pytest.fixture
def holder(s3_place: S3Place) -> Iterator[Holder]:
    """It holds a short lease, so that nobody has to wait long for its end; what others take lasts."""
    found = Holder(lasting(s3_place, SHORT))
    yield found
    found.end()


def test_a_lease_whose_holder_is_killed_passes_to_another_machine(s3_place: S3Place, holder: Holder) -> None:
    with pytest.raises(Conflict, match=r"is held by .*\(process \d+\)"):
        s3_place.elsewhere("machine").backend().lock("train/key", timeout=0)
    holder.signal(signal.SIGKILL)
    lease = s3_place.elsewhere("machine").backend().lock("train/key", timeout=300)
    assert lease.epoch == holder.epoch + 1 and lease.held()
    lease.release()


def test_a_lease_whose_holder_is_killed_is_free_at_once_on_the_same_machine(s3_place: S3Place) -> None:
    hour = lasting(s3_place, 3600.0)
    holder = Holder(hour)
    holder.end()
    lease = hour.backend().lock("train/key", timeout=300)
    assert lease.epoch == holder.epoch + 1
    with pytest.raises(Conflict):
        hour.elsewhere("machine").backend().lock("train/key", timeout=0)
    lease.release()


def test_a_holder_that_was_stopped_finds_its_lease_lost(s3_place: S3Place, holder: Holder) -> None:
    assert holder.held()
    holder.signal(signal.SIGSTOP)
    lease = s3_place.elsewhere("machine").backend().lock("train/key", timeout=300)
    holder.signal(signal.SIGCONT)
    assert not holder.held() and lease.held()
    lease.release()
    assert not holder.held()


def test_leases_outlast_their_term_also_after_a_passing_conflict_at_renewal(s3_place: S3Place) -> None:
    place = lasting(s3_place, KEPT)
    holder = Holder(place)
    lease: Any = place.backend().lock("other/key")
    body = json.loads(s3_place.backend().read("_locks/other/key")[0])
    s3_place.put("_locks/other/key", json.dumps(body | {"nonce": "another answer"}).encode())

    def take(key: str) -> None:
        s3_place.elsewhere("machine").backend().lock(key, timeout=1.5 * KEPT)

    try:
        with ThreadPoolExecutor() as pool:
            for attempt in [pool.submit(take, key) for key in ("train/key", "other/key")]:
                assert isinstance(attempt.exception(), Conflict)
        assert holder.held() and lease.held()
        lease.release()
    finally:
        holder.end()


def test_a_lease_that_another_wrote_over_is_lost_at_the_next_renewal(s3_place: S3Place) -> None:
    lease: Any = lasting(s3_place, SHORT).backend().lock("train/key")
    body = json.loads(s3_place.backend().read("_locks/train/key")[0])
    s3_place.put("_locks/train/key", json.dumps(body | {"token": "another", "epoch": 9}).encode())
    assert lease._lost.wait(300) and not lease.held()
    lease.release()
    assert json.loads(s3_place.backend().read("_locks/train/key")[0])["token"] == "another"


def test_a_lease_outlives_a_short_absence_of_the_server_and_not_a_long_one(mortal: tuple[S3Server, S3Place]) -> None:
    server, place = mortal
    patient: Any = lasting(place, 3600.0).backend().lock("a")
    hasty: Any = lasting(place, SHORT).backend().lock("b")
    server.kill()
    assert hasty._done.wait(SHORT) is False and not hasty.held()
    with pytest.raises(Transient):
        patient._renew()
    assert patient.held()
    server.start()
    place.backend().write("ready", b"", None)
    patient._renew()
    assert patient.held() and not hasty.held()
    hasty.release()
    patient.release()
    assert json.loads(place.backend().read("_locks/a")[0])["released"] is True


def test_a_lease_object_that_is_none_is_named(s3_place: S3Place) -> None:
    for data in (b"{", b"[]", b'{"epoch": 1}'):
        s3_place.put("_locks/train/key", data)
        with pytest.raises(ArtifactError, match="_locks/train/key is not a lease"):
            s3_place.backend().lock("train/key", timeout=0)
