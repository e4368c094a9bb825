"""What faults are injected into: a home that is up on a Postgres, a bucket behind a proxy, workers, a Ray cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from conf.schema.store import S3StoreConf
from tasks.core.services import servers
from tasks.core.store.local import LocalBackend
from tasks.core.store.s3 import S3Backend
from tasks.core.store.store import Store
from tests import one_secret
from tests.pipeline_process import RECIPE, ROOT, WITHOUT_TUNING, Started, eventually, write_texts
from tests.ports import free_ports
from tests.postgres_server import PostgresServer
from tests.s3_proxy import S3Proxy
from tests.s3_server import S3Server

POOL = "faults"
DISK = "900m"
"""Size of the disk that the home is on, where one can be mounted."""
SHIFTED_CLOCK = Path(__file__).with_name("shifted_clock.c")
COMPILER = shutil.which("cc")
"""Makes the clock that can be shifted; where there is none, clocks are left alone."""
TOY = ("a=hello", "b=world")
PAUSE = 0.15
"""Seconds that each step of the toy flow, and each count of its training, waits."""
TOY_STEPS = ("make", "shout", "join", "train")
TINY = ("pretrain.run.resources.gpu=1", *WITHOUT_TUNING)
"""Training asks for one of the devices that are pretended; fine-tuning would take most of the time."""
FLOWS = ("tiny", "toy")
"""The recipe, and the toy flow."""
LIMIT = 900.0


@dataclass(frozen=True)
class Place:
    """Where the bodies of runs are carried out, and which store the runs use."""

    name: str
    store: str = "folder"
    """folder, bucket, or ranks: a folder of its own, since two ranks train another model than one."""
    words: tuple[str, ...] | None = ()
    """Options of a run of the recipe; None: it does not run here."""
    toy: dict[str, str] | None = None
    """Places of the toy flow's steps; None: it does not run here."""

    def runs(self, flow: str) -> bool:
        """Whether a flow runs here."""
        return (self.toy if flow == "toy" else self.words) is not None


PLACES = {
    place.name: place
    for place in (
        Place("local", toy={}),
        Place("bucket", "bucket", toy={}),
        Place("ranks", "ranks", ("pretrain.run.processes=2",)),
        Place("pool", "bucket", (f"engine.places={{pretrain: 'pool:{POOL}'}}",), {"train": f"pool:{POOL}"}),
        Place("ray", "bucket", None, {"make": "ray:ADDRESS"}),
    )
}


@dataclass
class Worker:
    """`fromzero up --pool`, as on a machine of its own."""

    home: Path
    env: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.home.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start, or start again in the same home."""
        with (self.home / "said").open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli.main", "up", "--pool", POOL, "--limit", "2"],
                cwd=ROOT, env={**self.env, "FROMZERO_HOME": str(self.home)}, stdout=said, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def ready(self) -> bool:
        """It has said that it serves."""
        return "serves the work pool" in (self.home / "said").read_text()

    def tree(self) -> list[psutil.Process]:
        """Its processes, itself first."""
        with suppress(psutil.NoSuchProcess):
            mine = psutil.Process(self.process.pid)
            return [mine, *mine.children(recursive=True)]
        return []

    def staff(self) -> set[int]:
        """Those of its processes that are there without a body, by their ids."""
        found = set[int]()
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                if {"worker", "--pool"} & set(process.cmdline()):
                    found.add(process.pid)
        return found

    def busy(self) -> bool:
        """It carries a body out."""
        return len(self.tree()) > 2


class Rig:
    """The whole of it; use `rigged`. `folder` holds everything, `home` is the one that is up."""

    def __init__(self, folder: Path, home: Path, postgres: PostgresServer, s3: S3Server, proxy: S3Proxy) -> None:
        self.folder, self.home, self.postgres, self.s3, self.proxy = folder, home, postgres, s3, proxy
        self.url = postgres.of_a_home()
        self.databases = {part: f"{self.url.rpartition('/')[2]}_{part}" for part in ("prefect", "mlflow")}
        self.ports = dict(zip(("prefect_port", "mlflow_port"), free_ports(2), strict=True))
        self.workers: list[Worker] = []
        self.recipe = folder / "tiny.yaml"
        self.digests: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
        """What an undisturbed run says: by (flow, store) the label and digest of each step."""
        self._ray: Any = None

    def clock(self) -> dict[str, str]:
        """The environment of a run whose wall clock goes right until `shift` is asked for."""
        library = self.folder / "shifted_clock.so"
        if not library.exists():
            assert COMPILER is not None
            subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, SHIFTED_CLOCK], check=True)
        (self.folder / "clock").write_bytes(struct.pack("q", 0))
        return {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(self.folder / "clock")}

    def shift(self, hours: float) -> None:
        """Let the clock of that run jump."""
        with (self.folder / "clock").open("r+b") as file:
            file.write(struct.pack("q", int(hours * 3600)))

    # what runs are given

    @property
    def env(self) -> dict[str, str]:
        """The environment of all that belongs to it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FROMZERO_", "PREFECT_API_"))}
        own = {"FROMZERO_HOME": str(self.home), "FROMZERO_DEVICES": str(self.folder / "devices")}
        path = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        return {**kept, **own, **path, **self.postgres.env, **self.s3.env, "FROMZERO_FAKE_DEVICES": "2"}

    def store_conf(self, name: str, endpoint: str = "") -> dict[str, Any]:
        """The options of one of the stores; runs reach the bucket through the proxy."""
        if name == "bucket":
            return {
                "kind": "s3", "bucket": "faults", "endpoint": endpoint or self.proxy.endpoint, "lease_seconds": 30.0
            }  # fmt: skip
        return {"kind": "local", "path": str(self.home / "store" if name == "folder" else self.folder / "ranks")}

    @cached_property
    def stores(self) -> dict[str, Store]:
        """All stores, looked at behind the proxy's back."""
        bucket = S3StoreConf.model_validate(self.store_conf("bucket", self.s3.endpoint))
        return {
            "folder": Store(LocalBackend(self.home / "store")),
            "ranks": Store(LocalBackend(self.folder / "ranks")),
            "bucket": Store(S3Backend.from_conf(bucket, self.folder / "looking")),
        }

    def begin(self, flow: str, place: Place, **env: str) -> Started:
        """A run of the recipe (`tiny`) or of the toy flow, as somebody types it."""
        conf = self.store_conf(place.store)
        given = {**self.env, **env}
        if flow == "tiny":
            assert place.words is not None
            store = [f"store={conf['kind']}", *(f"store.{name}={value}" for name, value in conf.items())]
            words = ["-m", "flows.cli.main", "run", str(self.recipe), *place.words, *TINY, "--json"]
            words += [word for word in store if not word.startswith("store.kind")]
        else:
            assert place.toy is not None
            places = {step: where.replace("ADDRESS", self.ray) for step, where in place.toy.items()}
            given |= {"FROMZERO_STORE": json.dumps(conf), "TOY_PLACES": json.dumps(places)}
            words = ["-m", "tests.toy_run", "one", str(PAUSE), *TOY]
        log = self.folder / f"stderr-{time.monotonic_ns()}"
        return Started([sys.executable, *words], self.folder, given, log)

    @property
    def ray(self) -> str:
        """The address of a Ray cluster of two nodes, started when first asked for."""
        if self._ray is None:
            from ray.cluster_utils import Cluster

            self._ray = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
            for _ in range(2):
                self._ray.add_node(num_cpus=1)
            self._ray.wait_for_nodes()
        return str(self._ray.address)

    def lose_ray_node(self) -> None:
        """One node goes, another comes."""
        node = next(iter(self._ray.worker_nodes))
        self._ray.remove_node(node, allow_graceful=False)
        self._ray.add_node(num_cpus=1)

    # what belongs to it

    def say(self, *words: str) -> str:
        """What a command says that has to succeed."""
        log = self.folder / f"stderr-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "flows.cli.main", *words]
        return Started(command, self.folder, self.env, log).wait(0, LIMIT).out

    def up(self) -> None:
        """Start the services of the home, unless they run."""
        self.say("up", "--postgres", self.url, *(f"{name}={port}" for name, port in self.ports.items()))

    def healthy(self) -> bool:
        """All services run and answer."""
        found = servers.running(self.home)
        if found is None or any(about["pid"] is None for about in found["services"].values()):
            return False
        return servers.answers(found["url"]) and servers.healthy(f"{found['mlflow']}/health")

    def service(self, name: str) -> psutil.Process | None:
        """The process of a service below its guard, or the keeper itself."""
        found = servers.running(self.home)
        with suppress(psutil.NoSuchProcess):
            if found is not None and name == "keeper":
                return psutil.Process(found["pid"])
            if found is not None and (guard := found["services"][name]["pid"]) is not None:
                return next(iter(psutil.Process(guard).children()), None)
        return None

    def employ(self, count: int = 2) -> None:
        """So many workers of the pool are there, and serve."""
        api = {"PREFECT_API_URL": f"http://127.0.0.1:{self.ports['prefect_port']}/api", **one_secret.PREFECT}
        env = {**self.env, **api, "FROMZERO_STORE": json.dumps(self.store_conf("bucket"))}
        for worker in self.workers:
            if worker.process.poll() is not None:
                worker.start()
        while len(self.workers) < count:
            self.workers.append(Worker(self.folder / f"worker-{len(self.workers)}", env))
        if not eventually(lambda: all(worker.ready() for worker in self.workers), LIMIT):
            raise RuntimeError((self.workers[-1].home / "said").read_text()[-3000:])

    def dismiss(self) -> None:
        """No worker is there: each looks for work every other second, and a server has to answer."""
        for worker in self.workers:
            for process in worker.tree():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            worker.process.wait()
        self.workers.clear()

    def belongs(self) -> set[int]:
        """The processes that are to be there between two runs."""
        found, mine = servers.running(self.home), set[int]()
        if found is not None:
            with suppress(psutil.NoSuchProcess):
                keeper = psutil.Process(found["pid"])
                mine = {keeper.pid, *(child.pid for child in keeper.children(recursive=True))}
        return mine.union(*(worker.staff() for worker in self.workers))

    def others(self) -> dict[int, str]:
        """All other processes that work for a home of this folder, and their command lines."""
        mark, found, own = f"FROMZERO_HOME={self.folder}".encode(), {}, self.belongs()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in own:
                with suppress(OSError):
                    environ = (entry / "environ").read_bytes()
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if environ.startswith(mark) or b"\0" + mark in environ:
                        found[int(entry.name)] = words[:120]
        return found

    def end(self) -> None:
        """Nothing of it stays."""
        if self._ray is not None:
            self._ray.shutdown()
        self.dismiss()
        log = self.folder / "stderr-down"
        Started([sys.executable, "-m", "flows.cli.main", "down"], self.folder, self.env, log).wait(None)
        for pid in self.others() | dict.fromkeys(self.belongs(), ""):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # references

    def learn(self, flow: str, place: Place) -> None:
        """Know what an undisturbed run makes in the store of a place; the recipe's is made in the folder first."""
        if (flow, place.store) in self.digests:
            return
        if flow == "tiny" and place.store != "folder":
            self.learn(flow, PLACES["local"])
            self._seed(place.store)
        plainest = next(other for other in PLACES.values() if other.store == place.store)
        self.digests[flow, place.store] = digests(flow, self.begin(flow, plainest).wait(0, LIMIT).json)

    def _seed(self, store: str) -> None:
        """Put what the folder has into another store; what two ranks train is trained anew."""
        root, other = self.home / "store", self.stores[store].backend
        for path in sorted((p for p in root.rglob("*") if p.is_file()), key=lambda p: p.name == "manifest.json"):
            name = path.relative_to(root).as_posix()
            if not name.startswith(("_locks", "_work", "_runs", *(["pretrain"] if store == "ranks" else []))):
                other.put(name, path.read_bytes())


def steps(flow: str, said: dict[str, Any]) -> list[dict[str, Any]]:
    """The outcomes of a run, each with its label."""
    found = said["steps"] if flow == "tiny" else said["outcomes"]
    return [{**one, "label": f"{one['step']}[{one['shard']}]" if one["shard"] else one["step"]} for one in found]


def digests(flow: str, said: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Label and digest of each step, sorted."""
    return sorted(((one["label"], one["digest"]) for one in steps(flow, said)), key=str)


@contextmanager
def on_a_disk(folder: Path) -> Iterator[Path]:
    """A folder for a home on a disk of its own, where one can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def rigged(folder: Path) -> Iterator[Rig]:
    """A rig in a folder, its services up, nothing made."""
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer())
        s3 = stack.enter_context(S3Server(folder / "s3"))
        s3.make_bucket("faults")
        proxy = stack.enter_context(S3Proxy(s3.ports[0]))
        disk = stack.enter_context(on_a_disk(folder / "disk"))
        rig = Rig(folder, one_secret.give(disk / "home"), postgres, s3, proxy)
        stack.callback(rig.end)
        (folder / "texts").mkdir()
        write_texts(folder / "texts/old.jsonl", seed=1)
        rig.recipe.write_text(RECIPE.format(texts=folder / "texts"))
        rig.up()
        yield rig
