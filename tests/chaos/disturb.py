"""Runs of the data's way over many small shards, killed at random moments until they come to their end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests import one_secret
from tests.pipeline_process import ROOT, House, Started, eventually, write_texts

SHARDS = 20
RECIPE = """
extends: text
name: many
data:
  sources: {{mine: {{kind: files, paths: ["{texts}"], licence: CC0-1.0}}}}
  shard_mb: 0.01
  split: {{test: 0.1, valid: 0.05}}
tokenizer: {{vocab_size: 400}}
"""
LAST = "tokenize_shard"


def many(folder: Path, url: str | None = None) -> House:
    """A house with as many files as shards, some texts in more than one of them; nothing is made yet."""
    texts = folder / "texts"
    texts.mkdir(parents=True)
    for number in range(SHARDS):
        write_texts(texts / f"{number:02d}.jsonl", seed=number % (SHARDS - 3), count=30)
        write_texts(folder / "more.jsonl", seed=100 + number, count=10)
        with (texts / f"{number:02d}.jsonl").open("a") as file:
            file.write((folder / "more.jsonl").read_text())
    recipe = folder / "many.yaml"
    recipe.write_text(RECIPE.format(texts=texts))
    return House(folder, one_secret.give(folder / "home"), ROOT, recipe, texts, url)


Made = dict[tuple[str, str], tuple[str, str]]
"""Of each artifact (step, key), its label and the attempt that made it."""


def made(house: House) -> Made:
    """Every finished artifact, by its manifest."""
    store = house.home / "store"
    steps = [path.name for path in store.iterdir() if not path.name.startswith("_")] if store.is_dir() else []
    return {
        (step, manifest["key"]): (f"{step}[{manifest['shard']}]" if manifest["shard"] else step, manifest["attempt"])
        for step in steps
        for manifest in house.manifests(step)
    }


def tokens(house: House) -> dict[str, str]:
    """The digest of each shard's tokens."""
    return {str(manifest["shard"]): str(manifest["digest"]) for manifest in house.manifests(LAST)}


def lose(house: House, chance: random.Random, count: int) -> None:
    """Forget what each step has made for some random shards, so that it is to be made again."""
    by_step: dict[str, list[str]] = {}
    for (step, key), (label, _) in sorted(made(house).items()):
        if label.endswith("]"):
            by_step.setdefault(step, []).append(key)
    for step, keys in by_step.items():
        for key in chance.sample(keys, min(count, len(keys))):
            shutil.rmtree(house.home / "store" / step / key)


@dataclass
class Disturbance:
    """A run that is killed, and started again each time that it has ended, until it has come to its end."""

    house: House
    chance: random.Random
    pause: float
    """Longest time between two kills in seconds."""
    killed: Counter[str] = field(default_factory=Counter)
    starts: int = 0

    def go(self, kills: int) -> None:
        """Kill so often, then run to the end; raises `AssertionError` if a finished artifact was made again."""
        before = made(self.house)
        run = self._start()
        while self.killed.total() < kills:
            self._kill_one(run)
            if run.process.poll() is not None:
                before = self._ended(run, before)
                if run.process.returncode == 0:
                    lose(self.house, self.chance, 2)
                    before = made(self.house)
                run = self._start()
        while run.wait(code=None).code != 0:
            before = self._ended(run, before)
            assert self.starts < 5 * kills + 5, f"the run does not come to its end: {run.said[-3000:]}"
            run = self._start()
        self._ended(run, before)

    def _start(self) -> Started:
        self.starts += 1
        return self.house.start("run", str(self.house.recipe), "--until", LAST)

    def _kill_one(self, run: Started) -> None:
        """SIGKILL to a child of a step, or to the run, at a random moment while a child works."""
        while not (children := self.house.processes("tasks.core.engine.child_process")):
            if run.process.poll() is not None:
                return
            time.sleep(0.01)
        time.sleep(self.chance.uniform(0, self.pause))
        children = self.house.processes("tasks.core.engine.child_process") or children
        victim = run.process.pid if self.chance.random() < 0.25 else self.chance.choice(children)
        name = "the run" if victim == run.process.pid else _step_of(victim)
        if name is None or run.process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            self.killed[name] += 1
        if victim == run.process.pid:
            run.process.wait()

    def _ended(self, run: Started, before: Made) -> Made:
        """Look at what a run has left: nothing that was finished before has been begun or made again."""
        run.process.wait()
        assert eventually(lambda: not self.house.processes("tasks.core.engine.child_process")), (
            "a child outlived its run"
        )
        now = made(self.house)
        assert {key: now.get(key) for key in before} == before, "a finished artifact was made again"
        finished = {label for label, _ in before.values()}
        again = sorted(set(_begun(run)) & finished)
        assert not again, f"begun although it was finished: {again}"
        return now


def _step_of(pid: int) -> str | None:
    """The step that a child works for, by the path of its job; None if it has gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return None
    return next((word.split("/_work/")[1].split("/")[0] for word in words if "/_work/" in word), None)


def _begun(run: Started) -> Iterator[str]:
    """The labels of the steps whose bodies a run has begun."""
    for line in run.said.splitlines():
        if line.startswith("> "):
            yield line.removeprefix("> ")


def elsewhere(house: House, folder: Path) -> House:
    """The same recipe and texts with another home, in which nothing is made yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return replace(house, folder=folder, home=folder / "home")
