"""The command on the real chain, as a user types it: real processes on copies of the project and of a finished home."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests import one_secret
from tests.toy_process import eventually as eventually

ROOT = Path(__file__).parents[1]
NOWHERE = "http://127.0.0.1:9/api"
"""An API address where nobody listens."""
WITHOUT_TUNING = ("models.chat=null", "models.classifier=null")
RECIPE = """
extends: demo
name: tiny
data:
  sources:
    packages: {{distributions: [click, networkx]}}
    chat: {{max_conversations: 60}}
    mine: {{kind: files, paths: ["{texts}"], licence: CC0-1.0}}
  shard_mb: 8
  split: {{test: 0.05}}
tokenizer: {{vocab_size: 512}}
model:
  config:
    hidden_size: 32
    intermediate_size: 64
    num_hidden_layers: 2
    num_attention_heads: 2
    num_key_value_heads: 1
pretrain:
  segments:
    main: {{tokens: 122880, batch_tokens: 2048, seq_len: 64}}
  run: {{threads: 1, checkpoint_steps: 3, log_every: 1}}
models:
  base:
    evaluate: {{run: {{threads: 1}}, resamples: 200}}
    gate: {{min_items: 10, floors: []}}
  chat:
    train:
      max_conversations: 3
      batch_size: 2
      max_length: 64
      run: {{threads: 1, checkpoint_steps: 2, log_every: 1}}
    evaluate: {{run: {{threads: 1}}, resamples: 200}}
    gate: {{min_items: 2, floors: []}}
  classifier:
    train:
      max_per_class: 80
      min_per_class: 10
      length_limit: 64
      epochs: 1
      batch_size: 4
      run: {{threads: 1, checkpoint_steps: 4, log_every: 1}}
    evaluate: {{run: {{threads: 1}}, resamples: 200}}
    gate: {{min_items: 10, floors: []}}
"""
"""The demo's chain, all stages, on little text with a very small model, which need not beat any baseline."""

WORDS = """
harbour lantern morning river carried quiet letter garden stone window teacher market winter answer bridge small captain
found written before children story village yellow mountain paper silver road evening forgotten house
"""


def write_texts(path: Path, seed: int, count: int = 40) -> None:
    """JSON lines of made-up sentences that pass the quality rules."""
    draw, words = random.Random(seed), WORDS.split()
    with path.open("w") as file:
        for _ in range(count):
            sentences = [" ".join(draw.choices(words, k=9)) for _ in range(6)]
            text = "\n".join(f"The {sentence} of the {draw.choice(words)}." for sentence in sentences)
            file.write(json.dumps({"text": text}) + "\n")


@dataclass(frozen=True)
class Result:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """What it printed on stdout: one JSON object and nothing else."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def made(self) -> set[str]:
        """The labels of the steps that were not cached."""
        return {label(step) for step in self.json["steps"] if step["state"] != "cached"}

    def step(self, name: str) -> dict[str, Any]:
        """The one outcome of a step."""
        (found,) = [step for step in self.json["steps"] if label(step) == name]
        return dict(found)


def label(step: dict[str, Any]) -> str:
    """STEP or STEP[SHARD]."""
    return f"{step['step']}[{step['shard']}]" if step["shard"] else str(step["step"])


@dataclass(frozen=True)
class Plan:
    """The rows of a plan; a step that is called more than once has several of one label."""

    rows: list[dict[str, Any]]

    def to(self, action: str) -> dict[str, dict[str, Any]]:
        """The rows with that action, by label."""
        return {label(row): row for row in self.rows if row["action"] == action}

    def hits(self) -> bool:
        """Nothing is to be made."""
        return {row["action"] for row in self.rows} == {"hit"}


class Started:
    """A command under way, in a session of its own; its stderr in a file."""

    def __init__(self, command: list[str], cwd: Path, env: dict[str, str], log: Path, **options: Any) -> None:
        self.log, self.home = log, Path(env["FROMZERO_HOME"])
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file, text=True,
                start_new_session=True, **options,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """Its stderr so far."""
        return self.log.read_text(errors="replace")

    def wait(self, code: int | None = 0, limit: float = 900) -> Result:
        """Its end, with the exit code that is expected (None: any)."""
        out, _ = self.process.communicate(timeout=limit)
        assert code is None or self.process.returncode == code, f"{self.process.returncode}: {self.said[-4000:]}\n{out}"
        return Result(self.process.returncode, out, self.said)

    def until(self, condition: Callable[[], Any], limit: float = 600) -> Any:
        """Wait for something to become true while the process lives."""
        deadline = time.monotonic() + limit
        while not (value := condition()):
            assert self.process.poll() is None, f"it ended first: {self.said[-4000:]}"
            assert time.monotonic() < deadline, self.said[-4000:]
            time.sleep(0.005)
        return value

    def begun(self, name: str) -> Callable[[], bool]:
        """A condition: the step's body has begun."""
        return lambda: f"> {name}\n" in self.said

    def signal(self, number: signal.Signals) -> None:
        """A signal to the run's own process only."""
        self.process.send_signal(number)


@dataclass(frozen=True)
class House:
    """A folder with a home and the recipe, and the tree of the project that runs it."""

    folder: Path
    home: Path
    tree: Path
    recipe: Path
    texts: Path
    url: str | None
    """The Prefect API to use; None: each run starts or joins a server of its own."""

    def env(self, **more: str) -> dict[str, str]:
        """The environment of a command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FROMZERO_", "PREFECT_API_"))}
        url = {"PREFECT_API_URL": self.url, **one_secret.PREFECT} if self.url else {}
        return {**kept, "FROMZERO_HOME": str(self.home), "PYTHONPATH": str(self.tree), **url, **more}

    def start(self, verb: str, *words: str, env: dict[str, str] | None = None, **options: Any) -> Started:
        """`fromzero VERB WORDS…`."""
        log = self.folder / f"stderr-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "flows.cli.main", verb, *words]
        return Started(command, self.tree, self.env(**(env or {})), log, **options)

    def run(self, *words: str, code: int | None = 0, env: dict[str, str] | None = None) -> Result:
        """`fromzero run RECIPE WORDS… --json`."""
        return self.begin(*words, env=env).wait(code)

    def begin(self, *words: str, env: dict[str, str] | None = None, **options: Any) -> Started:
        """As `run`, not waited for."""
        return self.start("run", str(self.recipe), *words, "--json", env=env, **options)

    def plan(self, *words: str) -> Plan:
        """What `fromzero plan RECIPE WORDS… --json` says; no server is there to be asked."""
        found = self.start("plan", str(self.recipe), *words, "--json", env={"PREFECT_API_URL": NOWHERE}).wait()
        return Plan(found.json["steps"])

    def say(self, verb: str, *words: str, code: int = 0) -> Result:
        """Any other command."""
        return self.start(verb, *words).wait(code)

    def manifests(self, step: str) -> list[dict[str, Any]]:
        """The manifests of a step, each with its folder."""
        paths = sorted((self.home / "store" / step).glob("*/manifest.json"))
        return [{**json.loads(path.read_bytes()), "folder": path.parent} for path in paths]

    def files(self, step: str, shard: str | None = None) -> list[Path]:
        """The files of a step's one artifact (of that shard), the largest first."""
        (found,) = [m for m in self.manifests(step) if shard is None or m["shard"] == shard]
        files = [found["folder"] / found["attempt"] / file["path"] for file in found["files"]]
        return sorted(files, key=lambda path: -path.stat().st_size)

    def forget(self, *steps: str) -> None:
        """Remove what these steps have made."""
        for step in steps:
            shutil.rmtree(self.home / "store" / step)

    def digest(self, step: str) -> str:
        """The digest of a step's one artifact."""
        (found,) = self.manifests(step)
        return str(found["digest"])

    def scratch(self, step: str) -> Path | None:
        """The scratch of the step's work directory, if something is under way or left there."""
        return next((self.home / "store/_work" / step).glob("*/scratch"), None)

    def trained(self, step: str) -> int:
        """Rows of metrics in the step's work directory: how many optimizer steps were logged."""
        scratch = self.scratch(step)
        try:
            return (scratch / "metrics.jsonl").read_bytes().count(b"\n") if scratch else 0
        except FileNotFoundError:
            return 0

    def saved(self, step: str) -> int:
        """The step of the newest whole checkpoint in the step's work directory, 0 if there is none."""
        scratch = self.scratch(step)
        try:
            return int((scratch / "progress").read_text()) if scratch else 0
        except FileNotFoundError:
            return 0

    def processes(self, word: str = "", without: str = "\1") -> list[int]:
        """Processes that work for this home, by a word of their command line."""
        mark, found = f"FROMZERO_HOME={self.home}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace")
                    environ = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if mark in environ and word in words and without not in words:
                    found.append(int(entry.name))
        return found

    def whole(self) -> None:
        """Every artifact hashes to what its manifest says, and no half-made one is left."""
        assert "all whole" in self.say("verify").out


def copy_tree(target: Path) -> Path:
    """What a checkout needs to run: the three packages and the project's file."""
    for name in ("flows", "tasks", "conf"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", target / "pyproject.toml")
    return target


@functools.cache
def _finished(session: Path) -> tuple[House, Result]:
    folder = session / "house"
    folder.mkdir()  # fails, at once, in all tests after one in which the first run has failed
    texts = folder / "texts"
    texts.mkdir()
    write_texts(texts / "old.jsonl", seed=1)
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE.format(texts=texts))
    house = House(folder, one_secret.give(folder / "home"), copy_tree(folder / "tree"), recipe, texts, None)
    return house, house.run()


def finished(factory: pytest.TempPathFactory, url: str | None = None) -> House:
    """The one home of the session in which an undisturbed run has made everything; not to be changed."""
    return replace(_finished(factory.getbasetemp())[0], url=url)


def first_run(factory: pytest.TempPathFactory) -> Result:
    """What that run said."""
    return _finished(factory.getbasetemp())[1]


def copied(house: House, folder: Path) -> House:
    """A house of one's own with all that the finished one has; recipe, texts and tree are shared."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(house.home, folder / "a home", ignore=shutil.ignore_patterns("logs"))
    return replace(house, folder=folder, home=folder / "a home")


def empty(house: House, folder: Path) -> House:
    """A house with the same recipe in which nothing is made yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return replace(house, folder=folder, home=one_secret.give(folder / "a home"))
