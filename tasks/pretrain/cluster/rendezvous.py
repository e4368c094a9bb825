"""Where torchrun's agents and their training processes meet: on one machine in a file, on several in the shared store.

torch's own place for that is a TCP store that listens on all addresses, asks nobody who they are, and whose contents
are unpickled.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import FileStore, PrefixStore, Store
from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousHandler, RendezvousParameters
from torch.distributed.elastic.rendezvous.api import rendezvous_handler_registry
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler

from tasks.core.services import secret
from tasks.core.store.open import home
from tasks.pretrain.cluster.node_address import BACKEND, HERE, LOOPBACK_ADDRESS, address_of, split
from tasks.pretrain.cluster.shared_store import SharedStore, StoreServer, identity
from tasks.pretrain.cluster.unpickling import check_state

PLACE = "FROMZERO_TRAINING_STORE"
"""Environment variable of training processes: path of the file, or HOST:PORT, at which they meet."""
IDENTITY = "FROMZERO_TRAINING_IDENTITY"
"""Environment variable: path of the key and certificate by which processes of several machines know each other."""
ROUND = "FROMZERO_TRAINING_ROUND"
"""Environment variable: what is in the store for the processes that were started together, and for no others."""
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


def register(folder: Path) -> None:
    """Make the rendezvous known to torchrun; `folder` is private to this agent and its training processes."""

    def create(params: RendezvousParameters) -> RendezvousHandler:
        try:
            store = _on_this_machine(folder) if params.endpoint == HERE else _between_machines(params, folder)
        except OSError as error:
            raise RendezvousConnectionError(f"nodes cannot meet at {params.endpoint}: {error}") from error
        return create_handler(store, Backend(store, params.run_id), params)

    rendezvous_handler_registry.register(BACKEND, create)


def _on_this_machine(folder: Path) -> Store:
    file = str(folder / "store")
    os.environ[PLACE] = file
    listen_only_at(LOOPBACK_ADDRESS)
    return FileStore(file)


def _between_machines(params: RendezvousParameters, folder: Path) -> Store:
    file = folder / "identity.pem"
    file.write_bytes(identity(secret.key(home(), f"training {params.run_id}")))
    os.environ |= {PLACE: params.endpoint, IDENTITY: str(file)}
    host, port = split(params.endpoint)
    if params.get_as_bool("is_host"):
        host = address_of(params.endpoint)
        _serving.append(StoreServer(host, port, file))
    store = SharedStore(host, port, file)
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


def joined() -> Store | None:
    """The store of the processes that were started together with this one; None outside of such a group."""
    place = os.environ.get(PLACE)
    if place is None:
        return None
    if IDENTITY in os.environ:
        store: Store = SharedStore(*split(place), Path(os.environ[IDENTITY]))
    else:
        store = FileStore(place)
    _joined.append(store)
    return PrefixStore(os.environ[ROUND], store)
