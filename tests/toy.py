"""A small flow over small steps, for the tests of the machinery."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from conf.schema.base import Conf, RunConf
from tasks.core.artifact import Artifact
from tasks.core.errors import DataError, Refused, Transient
from tasks.core.events import Event, tell
from tasks.core.step import Retry, effect, observe, step
from tasks.core.workdir import Workdir


class ToyRun(RunConf):
    """How the toy steps run."""

    pause: float = 0.0
    """Seconds to wait."""


class ToyConf(Conf):
    """What the toy steps make."""

    word: str = "one"
    """A word."""
    run: ToyRun = ToyRun()
    """How."""


@step()
def make(shard: dict[str, Any], conf: ToyConf, work: Workdir) -> dict[str, Any]:
    """Write the shard's text."""
    time.sleep(conf.run.pause)
    (work / "text.txt").write_text(shard["text"])
    return {"letters": len(shard["text"])}


@step(retry=Retry(times=2, delay=0.01))
def shout(made: Artifact, conf: ToyConf, work: Workdir) -> dict[str, Any]:
    """Upper case; one part a shard and a note that varies."""
    time.sleep(conf.run.pause)
    text, shaky = (made / "text.txt").read_text(), work.scratch / "shaky"
    if text == "spoilt":
        raise DataError("the shard is spoilt")
    if text == "shaky" and not shaky.exists():
        shaky.touch()
        raise Transient("a network hiccup")
    (work / "out/text.txt").write_text(text.strip().upper())
    (work.aux / "when.txt").write_text(str(time.time()))
    print("shouting")
    return {}


@step(retry=Retry(times=2, delay=0.01))
def join(shouted: tuple[Artifact, ...], conf: ToyConf, work: Workdir) -> dict[str, Any]:
    """All texts and the word."""
    text = "\n".join(part.joinpath("text.txt").read_text() for part in (a.path for a in shouted))
    if "BAD" in text:
        raise DataError("the text is BAD")
    flaky = work.scratch / "flaky"
    if "FLAKY" in text and not flaky.exists():
        flaky.touch()
        raise Transient("a network hiccup")
    if "DIE" in text:
        os.kill(os.getpid(), 9)
    (work / "all.txt").write_text(f"{conf.word}\n{text}")
    return {"parts": len(shouted)}


@step(version="1")
def train(joined: Artifact, conf: ToyConf, work: Workdir) -> dict[str, Any]:
    """Counts to twenty, checkpointing each number; at TOY_STAY_AT it stays until killed, the next attempt goes on."""
    while work.progress < 20:
        time.sleep(conf.run.pause)
        work.progress = work.progress + 1
        tell(Event("progress", work.progress, 20, "step"))
        if work.progress == int(os.environ.get("TOY_STAY_AT", "0")):
            signal.pause()
    (work / "model.txt").write_text((joined / "all.txt").read_text() + str(work.progress))
    return {}


@effect(check=lambda trained, conf: None)
def judge(trained: Artifact, conf: ToyConf, work: Workdir) -> dict[str, Any]:
    """A gate that says no."""
    raise Refused("it is no better")


def look(conf: dict[str, str], memory: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One shard per entry."""
    return [{"shard": name, "text": text} for name, text in conf.items()], {"known": sorted(conf)}


def wiring(texts: dict[str, str], conf: ToyConf, judged: bool = False) -> None:
    """make → shout → join → train, and → judge if it is to be `judged`."""
    shards = observe("shards/toy", look, texts)
    shouted = shout.map(make.map(shards, conf=conf), conf=conf)
    trained = train(join(tuple(s.part("out") for s in shouted), conf=conf), conf=conf)
    if judged:
        judge(trained, conf=conf)
