"""The watchdog: which training processes of this machine have fallen silent, and what they were doing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.training.cluster.heartbeat import STACKS, read_sign, stacks_file

PATIENCE = 5.0
"""Seconds that processes get to write their stacks."""
STATES = {
    psutil.STATUS_STOPPED: "is stopped by a signal",
    psutil.STATUS_TRACING_STOP: "is stopped by a debugger",
    psutil.STATUS_DISK_SLEEP: "waits in the kernel, for a disk or a device",
    psutil.STATUS_ZOMBIE: "has ended",
}
"""States in which a process cannot say what it is doing."""


class Watch:
    """Counts how long each process has been silent."""

    def __init__(self, folder: Path, limit: float) -> None:
        """Look at the heartbeats in `folder`; silence of more than `limit` seconds is too long."""
        self.folder, self.limit = folder, limit
        self.every = min(1.0, limit / 10)
        self.looked = time.monotonic()
        self.forget()

    def look(self, pids: Iterable[int]) -> list[int]:
        """Those of these processes that have been silent for too long; cheap enough to be called all the time."""
        passed = time.monotonic() - self.looked
        if passed < self.every:
            return []
        self.looked += passed
        # Where this process was itself stopped or starved for a while, so were the others, and that is nobody's fault.
        return [pid for pid in pids if self._silent(pid, min(passed, 2 * self.every)) > self.limit]

    def _silent(self, pid: int, passed: float) -> float:
        sign = read_sign(self.folder, pid)
        if sign is None or not sign.watched or self.beats.get(pid) != sign.beats:
            self.silence[pid] = 0.0
        else:
            self.silence[pid] += passed
        if sign is not None:
            self.beats[pid] = sign.beats
        return self.silence[pid]

    def forget(self) -> None:
        """Count anew."""
        self.beats: dict[int, int] = {}
        self.silence: dict[int, float] = {}

    def stacks(self, ranks: Mapping[int, int]) -> dict[int, str]:
        """What each process (rank: process id) does: the stacks of its threads, or why there are none to be had."""
        files = {pid: stacks_file(self.folder, pid) for pid in ranks.values()}
        asked = {pid for pid in ranks.values() if files[pid].exists() and state_of(pid) is None}
        for pid in asked:
            with suppress(ProcessLookupError):
                os.kill(pid, STACKS)
        end, sizes, last = time.monotonic() + PATIENCE, [-1], [0]
        while asked and time.monotonic() < end and (sizes != last or not all(sizes)):
            time.sleep(0.2)
            sizes, last = [files[pid].stat().st_size for pid in sorted(asked)], sizes
        return {rank: self._said(pid, files[pid]) for rank, pid in ranks.items()}

    def _said(self, pid: int, file: Path) -> str:
        sign = read_sign(self.folder, pid)
        where = f"process {pid}, {f'step {sign.step} finished' if sign else 'before its first step'}"
        if (state := state_of(pid)) is not None:
            return f"{where}: it {state}, so there are no stacks"
        text = file.read_text(errors="replace").strip() if file.exists() else ""
        return f"{where}:\n{text}" if text else f"{where}: it did not answer"


def state_of(pid: int) -> str | None:
    """Why a process cannot answer; None if it can."""
    try:
        return STATES.get(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return STATES[psutil.STATUS_ZOMBIE]
