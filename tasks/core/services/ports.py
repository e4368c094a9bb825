"""Who listens on a port of this machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.services import servers
from tasks.core.services.supervised import free_port

if TYPE_CHECKING:
    import psutil


def listens(port: int) -> bool:
    """Whether anybody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return not probe.connect_ex(("127.0.0.1", port))


def free_after(port: int) -> int:
    """A free port that is easy to keep in mind, if there is one."""
    return next((other for other in range(port + 100, min(port + 1100, 65536), 100) if not listens(other)), free_port())


def is_ours(process: psutil.Process, home: Path) -> bool:
    """Whether a process belongs to the keeper of this home."""
    import psutil

    keeper = (servers.running(home) or {}).get("pid")
    try:
        return keeper in [process.pid, *(parent.pid for parent in process.parents())]
    except psutil.Error:
        return False
