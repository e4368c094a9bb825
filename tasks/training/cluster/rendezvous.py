"""Where torchrun's agents and their training processes meet: on one machine in a file, on several in the first's store.

torch's own place for that is a TCP store that listens on all addresses, asks nobody who they are, and whose contents
are unpickled.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import FileStore, PrefixStore, Store
from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousHandler, RendezvousParameters
from torch.distributed.elastic.rendezvous.api import rendezvous_handler_registry
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler

from tasks.core.errors import KINDS, FromzeroError
from tasks.training.cluster import bucket_calls
from tasks.training.cluster.node_address import BACKEND, HERE, LOOPBACK_ADDRESS, address_of, split
from tasks.training.cluster.node_identity import certificate, of_home
from tasks.training.cluster.shared_store import SharedStore, StoreServer
from tasks.training.cluster.unpickling import check_state
from tasks.training.job import Job

PLACE = "FROMZERO_TRAINING_STORE"
"""Environment variable of training processes: path of the file, or HOST:PORT, at which they meet."""
IDENTITY = "FROMZERO_TRAINING_IDENTITY"
"""Environment variable: path of the key and certificate by which processes of several machines know each other."""
TRUSTED = "FROMZERO_TRAINING_TRUSTED"
"""Environment variable: path of the first machine's certificate, where it is another one."""
ROUND = "FROMZERO_TRAINING_ROUND"
"""Environment variable: what is in the store for the processes that were started together, and for no others."""
STATUS = "status"
"""The key under which the nodes of a round tell each other what it ended of."""
INTERFACES = {"GLOO_SOCKET_IFNAME": "{}", "NCCL_SOCKET_IFNAME": "={}"}
"""Environment variables by which gloo and NCCL listen on one network interface instead of all."""


class Backend(C10dRendezvousBackend):
    """torch's, but that a state is looked at before torch unpickles it."""

    @property
    def name(self) -> str:
        """As torchrun was asked for it."""
        return BACKEND

    def _decode_state(self, base64_state: bytes) -> tuple[bytes, Any] | None:
        found: tuple[bytes, Any] | None = super()._decode_state(base64_state)
        if found is not None:
            check_state(found[0])
        return found


def register(folder: Path, job: Job) -> None:
    """Make the rendezvous known to torchrun; `folder` is private to this agent and its training processes."""

    def create(params: RendezvousParameters) -> RendezvousHandler:
        try:
            store = _on_this_machine(folder) if params.endpoint == HERE else _between_machines(params, folder, job)
        except (OSError, FromzeroError) as error:
            raise RendezvousConnectionError(f"nodes cannot meet at {params.endpoint}: {error}") from error
        return create_handler(store, Backend(store, params.run_id), params)

    rendezvous_handler_registry.register(BACKEND, create)


def _on_this_machine(folder: Path) -> Store:
    file = str(folder / "store")
    os.environ[PLACE] = file
    listen_only_at(LOOPBACK_ADDRESS)
    return FileStore(file)


def _between_machines(params: RendezvousParameters, folder: Path, job: Job) -> Store:
    own, file = of_home(params.run_id), folder / "identity.pem"
    file.write_bytes(own)
    os.environ |= {PLACE: params.endpoint, IDENTITY: str(file)}
    host, port = split(params.endpoint)
    if params.get_as_bool("is_host"):
        host = address_of(params.endpoint)
        newcomers = bucket_calls.Members(job.shared) if job.shared else tuple[str]
        _serving.append(StoreServer(host, port, file, newcomers))
    elif job.shared is not None:
        os.environ[TRUSTED] = str(folder / "trusted.pem")
        Path(os.environ[TRUSTED]).write_text(job.shared.first)
        bucket_calls.join(job.shared, certificate(own))
    store = _join(host, port)
    listen_only_at(store.local_address)
    return store


_serving: list[StoreServer] = []
"""The store of this process, which goes with it."""
_joined: list[Store] = []
"""What torch calls only as long as Python holds it."""


def listen_only_at(address: str) -> None:
    """Whatever listens for other training processes does so where these come from, unless the environment names it."""
    import psutil

    for name, found in psutil.net_if_addrs().items():
        if any(one.address == address for one in found if one.family in (socket.AF_INET, socket.AF_INET6)):
            for variable, form in INTERFACES.items():
                os.environ.setdefault(variable, form.format(name))


def _join(host: str, port: int) -> SharedStore:
    trusted = os.environ.get(TRUSTED)
    return SharedStore(host, port, Path(os.environ[IDENTITY]), Path(trusted) if trusted else None)


def joined() -> Store | None:
    """The store of the processes that were started together with this one; None outside of such a group."""
    place = os.environ.get(PLACE)
    if place is None:
        return None
    if IDENTITY in os.environ:
        store: Store = _join(*split(place))
    else:
        store = FileStore(place)
    _joined.append(store)
    return PrefixStore(os.environ[ROUND], store)


def tell(status: dict[str, Any]) -> None:
    """Tell the other nodes what a process of this round died of, if none has told before; where it is not cut off."""
    with suppress(Exception):  # what it died of may be just that, and is in its own status file
        if (store := joined()) is not None:
            store.compare_set(STATUS, "", json.dumps(status))


def told() -> dict[str, Any] | None:
    """What a process of another node has told in this round, of which this node's agent or process is part."""
    with suppress(Exception):  # the first node is gone, and with it what it knew
        if (store := joined()) is not None and store.check([STATUS]):
            found: dict[str, Any] = json.loads(store.get(STATUS))
            return found if {"ok", "kind", "message"} <= found.keys() and found["kind"] in KINDS else None
    return None
