"""How nodes that share no folder learn of a training and of each other: by small objects in the bucket of their store.

_work/STEP/KEY/rendezvous.json      the call of the first node: where it is, what to train, its certificate
_work/STEP/KEY/EPOCH/members/       the certificates of the nodes that take part

Whoever may write the bucket may take part, as it may change what is trained on; whoever may only read it may not.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.core.artifact import Artifact, canonical
from tasks.core.errors import ArtifactError, Conflict, FromzeroError, Transient
from tasks.core.store.open import bucket_of, open_store
from tasks.core.store.store import Miss, Store
from tasks.core.workdir import Workdir
from tasks.training.cluster.node_address import Rendezvous, meeting_point
from tasks.training.cluster.node_identity import certificate, of_home
from tasks.training.job import CHECKPOINTS, Job, Shared, SharedJob

if TYPE_CHECKING:
    from tasks.core.store.s3_bucket import Bucket

CALL, MEMBERS = "rendezvous.json", "members"
Ref = dict[str, Any]
J = TypeVar("J", bound=SharedJob)


def share(job: J, inputs: dict[str, Any]) -> J:
    """The job as the first node carries it out: through the bucket, if its store is in one, and several nodes take
    part or have taken part before."""
    bucket = bucket_of(open_store())
    if bucket is None:
        return job
    note = job.work.scratch / "scratch_id"
    if not note.exists():
        note.write_text(uuid.uuid4().hex[:12])
    epoch = int(job.work.epoch_file.read_text())
    shared = Shared(job.work.name, epoch, note.read_text(), inputs)
    before = f"/{CHECKPOINTS}/{shared.scratch}-"
    if job.nodes.count == 1 and not any(before in name for name in bucket.names(shared.prefix)):
        return job
    return replace(job, shared=shared)


def open_bucket() -> Bucket:
    """The bucket that this training is shared through; raises `ArtifactError` where the store is a folder."""
    found = bucket_of(open_store())
    if found is None:
        raise ArtifactError("this training is shared through a bucket, and the store here (FROMZERO_STORE) is a folder")
    return found


@contextmanager
def called(job: SharedJob) -> Iterator[Rendezvous]:
    """Call the nodes of the same bucket as long as this lasts; raises as `meeting_point`, and `Conflict` if a later
    holder of the lease does so already."""
    assert job.shared is not None
    bucket, name, training = open_bucket(), f"{job.shared.prefix}{CALL}", uuid.uuid4().hex
    told = job.called(certificate(of_home(training))).to_json().decode()
    rendezvous = Rendezvous(training, meeting_point(job), told)
    _replace(bucket, name, job.shared, canonical(asdict(rendezvous)))
    try:
        yield rendezvous
    finally:
        with suppress(FromzeroError):  # it says for how long it lasts by the port that nobody answers at any more
            _replace(bucket, name, job.shared, b"{}")


def _replace(bucket: Bucket, name: str, shared: Shared, data: bytes) -> None:
    """Write over the call of an earlier attempt, or of an earlier holder of the lease."""
    etag = None
    with suppress(FileNotFoundError):
        found = bucket.get(name)
        etag, before = found.etag, read(found.data)
        if before is not None and (there := Shared.of(before.job)) and there.epoch > shared.epoch:
            raise Conflict(f"the lease of {shared.name} was lost: another run goes on with it")
    bucket.put(name, data, etag)


def read(data: bytes) -> Rendezvous | None:
    """The rendezvous in a call; None if there is none any more, or it is none."""
    try:
        found = {name: str(value) for name, value in dict(json.loads(data)).items()}
        return Rendezvous(**found) if Shared.of(found["job"]) else None
    except (ValueError, TypeError, KeyError):
        return None


class BucketCalls:
    """The calls to trainings of one step, as a node hears them that shares no folder."""

    every = 5.0

    def __init__(
        self, kind: type[SharedJob], store: Store, step: str, endpoint: str | None = None, key: str | None = None
    ) -> None:
        """Those to jobs of that kind; only those that meet at `endpoint`, or that make the artifact of that `key`, if
        it is given."""
        bucket = bucket_of(store)
        assert bucket is not None
        self.kind, self.store, self.bucket = kind, store, bucket
        self.folder, self.endpoint = f"_work/{step}/", endpoint
        self._one = [f"{self.folder}{key}/"] if key else None
        self.place = f"in {bucket.where}"
        self._last: Rendezvous | None = None

    def newest(self) -> Rendezvous | None:
        """The one last called; as long as the bucket cannot be read, the one that was so before."""
        found: list[tuple[float, Rendezvous]] = []
        try:
            for key in self._one or self.bucket.folders(self.folder):
                with suppress(FileNotFoundError):
                    call = self.bucket.get(f"{key}{CALL}")
                    rendezvous = read(call.data)
                    if rendezvous is not None and self.endpoint in (None, rendezvous.endpoint):
                        found.append((call.age, rendezvous))
        except Transient:
            return self._last
        self._last = min(found, key=lambda one: one[0])[1] if found else None
        return self._last

    def job(self, rendezvous: Rendezvous, folder: Path) -> Job:
        """What is to be trained, its inputs brought here and verified, with `folder` as the work directory.

        Raises `Transient` if an input is no longer what the first node has.
        """
        work = Workdir(folder)
        work.make()
        try:
            return self.kind.from_json(rendezvous.job).brought(self._bring, work)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{rendezvous.endpoint} calls to a training without inputs: {error!r}") from error

    def _bring(self, ref: Ref) -> Artifact:
        found = self.store.look(ref["step"], ref["key"])
        name = f"{ref['step']}/{ref['key'][:12]}"
        if isinstance(found, Miss):
            raise Transient(f"{name} is not in {self.bucket.where}: {found.reason}")
        brought = self.store.artifact(found)
        brought = brought.part(ref["part"]) if ref["part"] else brought
        if brought.digest != ref["digest"]:
            raise Transient(f"{name} was made anew since: it has another digest now")
        return brought


def join(shared: Shared, own: str) -> None:
    """Let the first node know the certificate of this one."""
    name = hashlib.sha256(own.encode()).hexdigest()[:32]
    with suppress(Conflict):  # it is there from the last time
        open_bucket().put(f"{shared.own}{MEMBERS}/{name}.pem", own.encode(), None)


class Members:
    """The certificates of the nodes that take part, each given once."""

    def __init__(self, shared: Shared) -> None:
        self._folder, self._known, self._bucket = f"{shared.own}{MEMBERS}/", set[str](), open_bucket()

    def __call__(self) -> list[str]:
        """Those that have come since the last call."""
        found = []
        for name in self._bucket.names(self._folder).keys() - self._known:
            found.append(self._bucket.get(name).data.decode("ascii", "replace"))
            self._known.add(name)
        return found
