"""One run of `shards`: `python -m tests.benchmarks.shards_run SHARDS`, its cost as JSON; the environment says where."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import Any

from conf.schema.engine import EngineConf
from tasks.core.store.open import home, open_store
from tests import toy
from tests.benchmarks.body_start import cpu
from tests.benchmarks.measuring import peak_mb
from tests.toy_run import Quiet


class Silent(Quiet):
    """A report of nothing."""

    def started(self, label: str) -> None:
        return

    def line(self, label: str, text: str) -> None:
        return

    def ended(self, outcome: object) -> None:
        return


def counted(store: Any) -> list[str]:
    """The requests to S3 from now on, by operation; none of a local store."""
    asked: list[str] = []
    bucket, renewals = getattr(store.backend, "bucket", None), getattr(store.backend, "_renewals", None)
    for one in filter(None, (bucket, renewals)):
        one.client.meta.events.register("before-send.s3", lambda event_name, **_: asked.append(event_name))
    return asked


def main(shards: int) -> None:
    """Plan, then run: both are what a person waits for."""
    from tasks.core.engine.prefect_engine import Engine
    from tasks.core.engine.prefect_run import execute
    from tasks.core.plan.planner import Planner
    from tasks.core.step import interpreted_by

    texts = {f"s-{n:05d}": f"text {n}" for n in range(shards)}

    def wiring() -> None:
        toy.make.map([{"shard": name, "text": text} for name, text in texts.items()], conf=toy.ToyConf())

    store = open_store()
    asked = counted(store)
    planned = time.perf_counter()
    with interpreted_by(Planner(store)):
        wiring()
    planned, of_plan = time.perf_counter() - planned, len(asked)
    began = time.perf_counter()
    engine = Engine(store, home(), EngineConf(), Silent())
    execute(engine, "shards", wiring)
    states = Counter(outcome.state for outcome in engine.outcomes)
    cost = {"plan": planned, "run": time.perf_counter() - began, "cpu": cpu(), "mb": peak_mb()}
    print(json.dumps({"states": states, "asked": len(asked), "of_plan": of_plan, **cost}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
