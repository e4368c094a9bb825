"""Where the nodes of one training meet: an address, which a file in the folder that they share names, or an object in
the bucket of their store."""

from __future__ import annotations

import hmac
import json
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.core.artifact import canonical
from tasks.core.errors import HostError
from tasks.core.events import notice
from tasks.core.services import secret
from tasks.core.small_files import write_atomically
from tasks.core.store.open import home
from tasks.training.job import Job, Shared

PORT = 29400
"""Where no other is given; torchrun's own."""
BACKEND = "fromzero"
"""The name by which torchrun knows our rendezvous."""
LOOPBACK_ADDRESS = "127.0.0.1"
HERE = "here"
"""The endpoint of processes of one machine, which meet in a file."""
LOOPBACK = re.compile(r"(ip6-)?localhost\d?(\.|$)|127\.|.*\.arpa$")
"""How the names and addresses look by which a machine finds nobody but itself."""
OUTSIDE = ("198.51.100.1", 9)
"""An address beyond every local network, to which nothing is sent."""
HEARTBEAT = (5, 3)
"""Seconds between two signs of life of a node, and after how many missed ones its place is free for another."""
ALONE = 75
"""Exit code of the first node's agent when not all nodes came, or came back, in time."""


@dataclass(frozen=True)
class Rendezvous:
    """One attempt at a training by several nodes, the first of which runs the step."""

    id: str
    """Of this attempt: what is left of an earlier one is no part of it."""
    endpoint: str
    """HOST:PORT of the first node."""
    job: str
    """Path of the job's file; the job itself for nodes that share no folder."""

    def options(self, job: Job, first: bool) -> list[str]:
        """torchrun's options for a node. The rendezvous' store and rank 0, which writes, are always on the first."""
        nodes, (every, missed) = job.nodes, HEARTBEAT
        details = {
            "is_host": int(first),
            "join_timeout": int(nodes.timeout),
            "keep_alive_interval": every,
            "keep_alive_max_attempt": missed,
        }
        # Ranks go by the order of these names, of which only that of rank 0 is ever called.
        name = self.endpoint.rpartition(":")[0] if first else f"~{socket.gethostname()}"
        where = ["--rdzv-backend", BACKEND, "--rdzv-endpoint", self.endpoint, "--rdzv-id", self.id]
        conf = ",".join(f"{key}={value}" for key, value in details.items())
        return ["--nnodes", str(nodes.count), *where, "--rdzv-conf", conf, "--local-addr", name]

    @property
    def name(self) -> str:
        """The beginning of the key of what is trained."""
        shared = Shared.of(self.job) if self.job.startswith("{") else None
        return (shared.name.partition("/")[2] if shared else Path(self.job).parents[1].name)[:12]

    def reachable(self) -> bool:
        """Whether the first node is there."""
        try:
            socket.create_connection(split(self.endpoint), timeout=5).close()
        except OSError:
            return False
        return True

    @property
    def sealed(self) -> bytes:
        """As JSON, with what only a process of the same home can add."""
        return canonical({**asdict(self), "seal": self._seal()})

    def _seal(self) -> str:
        return hmac.digest(secret.key(home(), "rendezvous"), canonical(asdict(self)), "sha256").hex()

    @classmethod
    def read(cls, data: bytes) -> Rendezvous | None:
        """The rendezvous in a file; None if no process of this home has called it."""
        try:
            found = dict(json.loads(data))
            seal = str(found.pop("seal", ""))
            rendezvous = cls(**{name: str(value) for name, value in found.items()})
        except (ValueError, TypeError):
            return None
        return rendezvous if hmac.compare_digest(seal.encode(), rendezvous._seal().encode()) else None


@contextmanager
def called(job: Job) -> Iterator[Rendezvous | None]:
    """Call the other nodes of the same home, as long as this lasts; None for a job of one node. Raises as
    `meeting_point`."""
    if job.nodes.count == 1:
        yield None
        return
    rendezvous = Rendezvous(uuid.uuid4().hex, meeting_point(job), str(job.config_file))
    write_atomically(job.rendezvous_file, rendezvous.sealed)
    try:
        yield rendezvous
    finally:
        job.rendezvous_file.unlink(missing_ok=True)


def meeting_point(job: Job) -> str:
    """The endpoint at which the other nodes meet this one.

    Raises `HostError` if the port is taken, or others cannot find this machine by any name that it knows.
    """
    endpoint = job.nodes.rendezvous or f"{own_name()}:{PORT}"
    _refuse_if_taken(endpoint)
    notice(f"{job.nodes.count} nodes meet at {endpoint}")
    return endpoint


def own_name() -> str:
    """The name of this machine, or its address towards the outside where the name leads back to the asker; raises
    `HostError` if there is neither."""
    name = socket.getfqdn()
    if not LOOPBACK.match(name):
        return name
    if address := _towards_outside():
        return address
    raise HostError(
        f"other nodes cannot find this machine: it calls itself {name}, and has no route out that would show an "
        "address; give pretrain.run.rendezvous=HOST:PORT, a name or an address by which they reach it"
    )


def _towards_outside() -> str | None:
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(OUTSIDE)  # of a datagram socket this only chooses a route
        address = str(probe.getsockname()[0])
        return None if LOOPBACK.match(address) else address
    return None


def split(endpoint: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = endpoint.rpartition(":")
    return host, int(port)


def address_of(endpoint: str) -> str:
    """The one address of this machine to listen on for an endpoint; raises `HostError` if its name has none.

    A name that only here leads back to this machine, as many have it in /etc/hosts, means its address towards the
    outside.
    """
    host, port = split(endpoint)
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise HostError(
            f"pretrain.run.rendezvous={endpoint}: {host} has no address here ({error}): give a name or an address of "
            "this machine"
        ) from error
    if (LOOPBACK.match(address) or address == "::1") and not LOOPBACK.match(host):
        return _towards_outside() or address
    return address


def _refuse_if_taken(endpoint: str) -> None:
    address, port = address_of(endpoint), split(endpoint)[1]
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise HostError(
                f"nodes cannot meet at port {port} of this machine, {address} ({error.strerror}): end the other "
                "training that meets there, or give pretrain.run.rendezvous=HOST:PORT, a name or an address of this "
                "machine and a free port"
            ) from error


class FolderCalls:
    """The calls to trainings as a node of the same home hears them."""

    every = 1.0

    def __init__(self, kind: type[Job], folder: Path, endpoint: str | None = None) -> None:
        """Of jobs of that kind, in work directories below `folder`; only those that meet at `endpoint`, if given."""
        self.kind, self.folder, self.endpoint, self.place = kind, folder, endpoint, f"below {folder}"

    def newest(self) -> Rendezvous | None:
        """The one last called."""
        return newest(self.folder, self.endpoint)

    def job(self, rendezvous: Rendezvous, folder: Path) -> Job:
        """What is to be trained; raises `FileNotFoundError` if that has just ended."""
        return self.kind.read(Path(rendezvous.job))


def newest(folder: Path, endpoint: str | None = None) -> Rendezvous | None:
    """The rendezvous last called in a work directory below `folder`, of those at `endpoint` if it is given; None if
    there is none. What a first node that was killed has left behind counts until there is another; what no process of
    this home has sealed does not."""
    found: list[tuple[float, Rendezvous]] = []
    for path in folder.glob("*/scratch/rendezvous.json"):
        with suppress(FileNotFoundError):
            rendezvous = Rendezvous.read(path.read_bytes())
            if rendezvous is not None and endpoint in (None, rendezvous.endpoint):
                found.append((path.stat().st_mtime, rendezvous))
    return max(found, key=lambda one: one[0])[1] if found else None


def missing(job: Job) -> HostError:
    """Not all nodes were there in time."""
    same = "FROMZERO_HOME on a file system that all share" if job.shared is None else "bucket in FROMZERO_STORE"
    return HostError(
        f"the {job.nodes.count} nodes of this training were not together within pretrain.run.rendezvous_timeout="
        f"{job.nodes.timeout:g}: run `fromzero train-node` on each of the others, with the same {same}, and see "
        "that they reach pretrain.run.rendezvous, a name and a port of this machine"
    )
