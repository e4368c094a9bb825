"""What many tiny shards cost: first and cached, Prefect on SQLite and on Postgres, the store on a disk and on S3.

`python -m tests.benchmarks.shards [SHARDS …] [--on DATABASE:STORE …]`; plain Prefect's tasks beside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tasks.core.services import servers
from tasks.core.small_files import write_atomically
from tests.ports import free_ports
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
RESULTS = HERE / "results" / "shards.json"
SHARDS = (10, 100, 1000, 5000)
PLACES = ("sqlite:local", "postgres:local", "sqlite:s3", "postgres:s3")
PEER_UP_TO = 1000
"""Tasks of the peer, at most: it takes as long again as all else."""
UNITS = {
    "plan": "s", "run": "s", "seconds": "s", "cpu": "CPU s", "server": "CPU s", "mb": "MB", "server_mb": "MB",
    "of_plan": "requests", "asked": "requests",
}  # fmt: skip


class Server(NamedTuple):
    """A Prefect server, its processes, and how a client reaches it."""

    environ: dict[str, str]
    processes: list[psutil.Process]

    def cpu(self) -> float:
        """CPU seconds of all of them up to now, of those that have ended too."""
        return sum(sum(process.cpu_times()[:4]) for process in self.processes)

    def peak_mb(self) -> float:
        """The most memory of the server itself."""
        status = Path(f"/proc/{self.processes[0].pid}/status").read_text().split("VmHWM:")[1]
        return int(status.split()[0]) // 1024


@contextmanager
def prefect(database: str, folder: Path) -> Iterator[Server]:
    """Prefect's own server, on a database of its own."""
    with ExitStack() as stack:
        url, others = f"sqlite+aiosqlite:///{folder}/prefect.db", list[psutil.Process]()
        if database == "postgres":
            postgres = stack.enter_context(PostgresServer())
            url = postgres.url.replace("tests@", f"tests:{postgres.password}@")
            pid = int((Path(postgres._data) / "postmaster.pid").read_text().split()[0])
            others = [psutil.Process(pid)]
        (port,) = free_ports(1)
        environ = {**os.environ, "PREFECT_HOME": str(folder), "PREFECT_API_DATABASE_CONNECTION_URL": url}
        environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
        command = [sys.executable, "-m", "prefect", "server"]
        with (folder / "log").open("ab") as log:
            subprocess.run([*command, "database", "upgrade", "-y"], env=environ, check=True, stdout=log, stderr=log)
            own = subprocess.Popen([*command, "start", f"--port={port}"], env=environ, stdout=log, stderr=log)
        stack.callback(own.wait)
        stack.callback(own.terminate)
        address = f"http://127.0.0.1:{port}/api"
        while not servers.answers(address):
            if own.poll() is not None:
                raise SystemExit((folder / "log").read_text()[-3000:])
            time.sleep(0.2)
        inner = psutil.Process(own.pid)
        yield Server({**environ, "PREFECT_API_URL": address}, [*inner.children(), inner, *others])


def ran(server: Server, words: list[str], environ: dict[str, str]) -> tuple[dict[str, float], str]:
    """Seconds, and CPU seconds of client and server, of a process, and what it printed."""
    server_cpu, began, own = server.cpu(), time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words} failed:\n{done.stderr[-3000:]}")
    spent = os.times()
    cpu = spent.children_user + spent.children_system - own.children_user - own.children_system
    took = {"seconds": time.perf_counter() - began, "cpu": cpu, "server": server.cpu() - server_cpu}
    return took, done.stdout


def measured(server: Server, shards: int, home: Path, store: dict[str, str]) -> Iterator[tuple[str, dict[str, float]]]:
    """A first run and a cached one, in a home of their own."""
    home.mkdir()
    for what, state in (("first", "completed"), ("cached", "cached")):
        environ = {**server.environ, **store, "FROMZERO_HOME": str(home)}
        took, said = ran(server, ["-m", "tests.benchmarks.shards_run", str(shards)], environ)
        told = json.loads(said.splitlines()[-1])
        if told["states"] != {state: shards}:
            raise SystemExit(f"not all {state}: {told['states']}")
        own = {
            name: told[name] for name in UNITS if name in told
        }  # its servers of bodies are not this process's children
        yield what, took | own | {"server_mb": server.peak_mb()}


def beside(server: Server, tasks: int, folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """As many tasks of plain Prefect, run once and then cached."""
    for what in ("first", "cached"):
        words = [str(HERE / "plain_prefect.py"), str(tasks), str(folder)]
        yield what, ran(server, words, server.environ)[0]


def rows(label: str, ours: dict[str, float], peer: dict[str, float]) -> Iterator[dict[str, Any]]:
    """What was measured, a row for each."""
    about = {"device": f"{os.cpu_count()} cores, {platform.machine()}", "date": datetime.now(UTC).date().isoformat()}
    for name, unit in UNITS.items():
        mine, theirs = ours[name], peer.get(name)
        compared = {
            "ours": round(mine, 2),
            "peer": theirs and round(theirs, 2),
            "peer_name": theirs and "plain Prefect",
            "ratio": theirs and round(theirs / mine, 2) if mine else None,
        }
        yield {"what": f"{label}: {name}", **compared, "unit": unit, **about}


def main(counts: list[int], places: list[str], folder: Path) -> None:
    """Measure, print a table, write results/shards.json."""
    found: list[dict[str, Any]] = []
    with S3Server(folder) as s3:
        s3.make_bucket("shards")
        for place in places:
            database, kind = place.split(":")
            (folder / place).mkdir()
            with prefect(database, folder / place) as server:
                for shards in counts:
                    store = s3.env | {"FROMZERO_STORE": json.dumps({"kind": "local"})}
                    if kind == "s3":
                        conf = {"kind": "s3", "bucket": "shards", "endpoint": s3.endpoint}
                        store["FROMZERO_STORE"] = json.dumps({**conf, "prefix": f"{database}-{shards}"})
                    compared = kind == "local" and shards <= PEER_UP_TO
                    plain = folder / place / f"plain-{shards}"
                    peer = dict(beside(server, shards, plain)) if compared else {}
                    for what, ours in measured(server, shards, folder / place / str(shards), store):
                        label = f"{shards} shards, {what}, Prefect on {database}, store {kind}"
                        print(label, *(f"{name} {value:.1f}" for name, value in ours.items()), sep="  ", flush=True)
                        if what in peer:
                            print("  plain Prefect", {name: round(cost, 1) for name, cost in peer[what].items()})
                        found += rows(label, ours, peer.get(what, {}))
                        write_atomically(RESULTS, json.dumps(found, indent=1).encode() + b"\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", nargs="*", type=int, default=list(SHARDS))
    parser.add_argument("--on", nargs="+", default=list(PLACES), choices=PLACES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(given.shards or list(SHARDS), given.on, Path(temporary))
