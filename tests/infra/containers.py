"""The services of infra/compose.yaml without a container engine: processes in namespaces, as an engine would have them.

Each service has a root that nothing can be written to but its volumes and tmpfs, its user without capabilities, process
ids of its own, and an address of its own on a network on which services go by their names. What stands in for images is
what is installed here: our environment for ours, Debian's Postgres, the wheel's weed. Needs root.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.infra.dockerfile import image
from tests.test_layout import ROOT

BIN = Path(sys.executable).parent
COMPOSE = [str(BIN / "docker-compose"), "--file", str(ROOT / "infra" / "compose.yaml"), "--profile", "gpu"]
START_SECONDS = 900.0
Given = TypeVar("Given")
NEWNET = 0x40000000
NETWORK = "ip link add services type bridge && ip address add 10.77.0.1/24 dev services && ip link set services up"
POSTGRES = """#!/bin/bash -e
# As the image's entrypoint does: an empty folder becomes a server with the user, in which the files are run once
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --no-sync -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") \
        --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    createdb -U "$POSTGRES_USER" "${POSTGRES_DB:-$POSTGRES_USER}"
    for file in /docker-entrypoint-initdb.d/*.sql; do psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -f "$file"; done
    echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
"""
INIT = """
"$@" & child=$!
trap 'kill -TERM $child' TERM
wait $child; code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
exit $code
"""
"""What tini does, as process 1: SIGTERM is handed on, and what is left is buried."""


def services(environ: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Every service as docker compose reads it, whatever its profile."""
    done = subprocess.run(
        [*COMPOSE, "config", "--format", "json"], env=os.environ | environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.replace("$$", "$"))["services"])


def passwords() -> dict[str, str]:
    """What infra/secrets.sh prints."""
    said = subprocess.run(["sh", str(ROOT / "infra" / "secrets.sh")], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in said.splitlines())


class Container:
    """One service; `exited` is its exit code once it has ended by itself."""

    def __init__(self, name: str, service: dict[str, Any], folder: Path, network: int, number: int) -> None:
        self.name, self.service, self.folder, self.network, self.number = name, service, folder, network, number
        self.address = f"10.77.0.{number}"
        self.ours = service["image"].startswith("fromzero:")
        self.user = service.get("user") or image().user
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """What process 1 starts, without the init."""
        entry = self.service.get("entrypoint") or []
        if not entry and self.service["image"].startswith("postgres:"):
            entry = [str(self.folder / "postgres-entrypoint")]
        return [*entry, *(self.service.get("command") or [])]

    @property
    def environ(self) -> dict[str, str]:
        """All of its environment."""
        paths = [str(BIN), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin"))), "/usr/bin", "/bin"]
        own = image().environ if self.ours else {}
        return {"PATH": ":".join(paths), **own, **(self.service.get("environment") or {})}

    def start(self) -> None:
        """Start it, and return at once."""
        (self.folder / "postgres-entrypoint").write_text(POSTGRES)
        (self.folder / "postgres-entrypoint").chmod(0o755)
        script = self.folder / f"{self.name}.sh"
        script.write_text("set -e\n" + "\n".join([*self._root(), f"set +e{INIT}"]))
        words = ["unshare", "--net", "--mount", "--pid", "--fork",
                 "--kill-child", "--ipc", "--uts", "bash", str(script), *self._enter(), *self.command]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while Path(f"/proc/{self._process.pid}/ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino:
            time.sleep(0.01)
        link = f"ip link add to{self.number} type veth peer name eth0 netns {self._process.pid}"
        join = f"{link} && ip link set to{self.number} master services up"
        subprocess.run(["nsenter", f"--net=/proc/{self.network}/ns/net", "sh", "-c", join], check=True)

    def _root(self) -> list[str]:
        """The lines of a shell that make its root, at /mnt/root."""
        lines = ["umask 022", "until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done; ip link set lo up"]
        lines += [f"ip address add {self.address}/24 dev eth0; ip link set eth0 up"]
        lines += ['at() { echo "/mnt/root$(chroot /mnt/root realpath -m "$1")"; }  # links lead to what is inside']
        lines += ["mount -t tmpfs tmpfs /mnt", "mkdir /mnt/upper /mnt/work /mnt/root"]
        lines += ["mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root"]
        lines += ["mount --rbind /dev /mnt/root/dev", "mount -t tmpfs -o mode=1777 tmpfs /mnt/root/dev/shm"]
        lines += ["mount -t proc proc /mnt/root/proc"]
        written = list(self.service.get("tmpfs") or [])
        named = [volume["target"] for volume in self.service.get("volumes", ())]
        written += [path for path in image().volumes if self.ours and path not in named]
        lines += [f'p=$(at {path}); mkdir -p "$p"; mount -t tmpfs -o mode=1777 tmpfs "$p"' for path in written]
        for kept in {str(ROOT), sys.prefix, sys.base_prefix, str(self.folder / "postgres-entrypoint")}:
            lines += _bound(kept, kept, read_only=True)
            closed = [parent for parent in Path(kept).parents if not parent.stat().st_mode & stat.S_IXOTH]
            lines += [f"chmod o+x /mnt/root{parent}" for parent in closed]
        for volume in self.service.get("volumes", ()):
            lines += _bound(str(self._source(volume)), volume["target"], volume.get("read_only", False))
        lines += [f"echo 'service:x:{self.user.split(':')[0]}:0::/:/bin/sh' >> /mnt/root/etc/passwd"]
        lines += [f"cp {self.folder / 'hosts'} /mnt/root/etc/hosts"]
        if self.service.get("read_only"):
            lines += ["mount -o remount,ro /mnt/root"]
        return lines

    def _source(self, volume: dict[str, Any]) -> Path:
        """A folder of this machine; of a named volume's owner an engine finds out by the image."""
        if volume["type"] == "bind":
            return Path(volume["source"])
        folder = self.folder / "volumes" / volume["source"]
        if not folder.exists():
            folder.mkdir(parents=True)
            os.chown(folder, *(map(int, self.user.split(":")) if volume["target"] != "/data" else (0, 0)))
        return folder

    def _enter(self) -> list[str]:
        """The words before a command that is to run in the root of the service, as its user."""
        kept = "".join(f",+{name.lower()}" for name in self.service.get("cap_add", ()))
        user, group = self.user.split(":")
        privileges = [
            "--reuid",
            user,
            "--regid",
            group,
            "--clear-groups",
            "--inh-caps=-all",
            f"--bounding-set=-all{kept}",
        ]
        assert self.service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in self.service["security_opt"]
        folder = image().folder if self.ours else "/"
        words = ["chroot", "/mnt/root", "setpriv", *privileges, "--no-new-privs", "env", "-i", f"--chdir={folder}"]
        return [*words, *(f"{name}={value}" for name, value in self.environ.items())]

    def healthy(self) -> bool:
        """Whether its health check, or its image's, is passed."""
        check = self.service.get("healthcheck") or {}
        test = check.get("test", ["CMD", *image().health])
        assert test[0] == "CMD"
        return self.execute(*test[1:]).returncode == 0

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside, as `docker compose exec` runs it."""
        words = ["nsenter", f"--target={self.first}", "--all", *self._enter(), *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=120)

    @property
    def first(self) -> int:
        """The process that is number 1 inside, by its number outside."""
        assert self._process is not None
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(path.read_text().split()[0])

    @property
    def exited(self) -> int | None:
        """Its exit code; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def stop(self) -> int:
        """SIGTERM to process 1, and as long as `stop_grace_period` says; the exit code, -9 if that was not enough."""
        assert self._process is not None
        os.kill(self.first, signal.SIGTERM)
        minutes, _, seconds = self.service.get("stop_grace_period", "0m10s").rstrip("s").partition("m")
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(int(minutes) * 60 + int(seconds or 0))
        return self.kill()

    def kill(self) -> int:
        """SIGKILL to all of its processes."""
        if self._process is None:
            return 0
        self._process.kill()
        return self._process.wait()


def _bound(source: str, target: str, read_only: bool) -> list[str]:
    """A folder or file at its place below /mnt/root."""
    make = 'mkdir -p "$p"' if Path(source).is_dir() else 'mkdir -p "$(dirname "$p")" && touch "$p"'
    lines = [f"p=$(at {shlex.quote(target)})", make, f'mount --bind {shlex.quote(source)} "$p"']
    return [*lines, 'mount -o remount,bind,ro "$p"'] if read_only else lines


class Machine:
    """What `docker compose up` makes of the file; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.passwords = passwords()
        self.folder = folder
        self._holder = subprocess.Popen(
            ["unshare", "--net", "bash", "-c", f"{NETWORK} && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline() == b"up\n"
        found = services(self.passwords)
        self.containers = {
            name: Container(name, one, folder, self._holder.pid, number)
            for number, (name, one) in enumerate(found.items(), 2)
        }
        known = {"localhost": "127.0.0.1", **{name: one.address for name, one in self.containers.items()}}
        (folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in known.items()))
        self._client = ThreadPoolExecutor(1, initializer=_join, initargs=(self._holder.pid,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for container in self.containers.values():
            container.kill()
        self._client.shutdown()
        self._holder.kill()
        self._holder.wait()

    def up(self, *names: str) -> None:
        """Start services, each when what it depends on is as the file asks; returns when all are."""
        waiting, begun, done = list(names), [], set()
        deadline = time.monotonic() + START_SECONDS
        while waiting or begun:
            for name in list(waiting):
                needs = self.containers[name].service.get("depends_on", {})
                if done >= set(needs):
                    self.containers[name].start()
                    waiting.remove(name)
                    begun.append(name)
            for name in list(begun):
                if self._ready(name):
                    begun.remove(name)
                    done.add(name)
            if time.monotonic() > deadline:
                raise RuntimeError("\n".join(f"{name}: {self.said(name)}" for name in [*begun, *waiting]))
            time.sleep(2.0)  # a look is a process of its own

    def _ready(self, name: str) -> bool:
        one = self.containers[name]
        asked = {other["depends_on"][name]["condition"] for other in (c.service for c in self.containers.values())
                 if name in other.get("depends_on", {})}  # fmt: skip
        if "service_completed_successfully" in asked:
            if one.exited:
                raise RuntimeError(f"{name} ended with {one.exited}: {self.said(name)}")
            return one.exited == 0
        if one.exited is not None:
            raise RuntimeError(f"{name} ended with {one.exited}: {self.said(name)}")
        with suppress(IndexError):  # it is just being started
            return one.healthy()
        return False

    def said(self, name: str) -> str:
        """The end of a service's log."""
        log = self.containers[name].log
        return log.read_text(errors="replace")[-3000:] if log.exists() else ""

    def inside(self, call: Callable[[], Given]) -> Given:
        """What a call gives that is made from the network of the services."""
        return self._client.submit(call).result()


def _join(process: int) -> None:
    """Move this thread into the network of a process."""
    with open(f"/proc/{process}/ns/net") as network:
        assert ctypes.CDLL(None, use_errno=True).setns(network.fileno(), NEWNET) == 0, ctypes.get_errno()
