"""Ports for servers of tests: none that the kernel gives to a connection, none that the other worker takes."""

from __future__ import annotations

import os
import random
import socket

LOWEST, HIGHEST = 10500, 20500
"""All ports, also those `ABOVE` them, are below what the kernel hands to outgoing connections (32768): a server that
was killed finds its port free when it is started again."""
ABOVE = 10000
"""How far above a port a server of SeaweedFS listens for gRPC."""
WORKERS = 4
"""Each of so many processes of pytest-xdist has ports of its own, by their remainder."""


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on, nor on those `ABOVE` them."""
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    found: list[int] = []
    for port in random.SystemRandom().sample(range(LOWEST + mine, HIGHEST, WORKERS), 2000):
        if all(_free(number) for number in (port, port + ABOVE)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
