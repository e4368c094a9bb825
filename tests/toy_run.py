"""`python -m tests.toy_run WORD PAUSE [SHARD=TEXT …]`: the toy flow through the real engine, its outcomes as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict

from conf.schema.engine import EngineConf
from tasks.core.engine.places.pool import Carrying
from tasks.core.engine.remote.caller import Remote
from tasks.core.errors import FromzeroError
from tasks.core.events import Event
from tasks.core.services import servers
from tasks.core.store.open import home, open_store
from tests import toy


def say(line: str) -> None:
    """One line on stderr in one piece: print writes its end by itself, and threads come between."""
    os.write(2, f"{line}\n".encode())


class Quiet:
    """A report that says on stderr what begins."""

    def started(self, label: str) -> None:
        say(f"> {label}")

    def line(self, label: str, text: str) -> None:
        say(f"{label}: {text}")

    def event(self, label: str, event: Event) -> None:
        say(f"{label}: {event.whole}")

    def ended(self, outcome: object) -> None:
        say(f"+ {outcome}")

    def ask(self, question: str) -> str:
        raise FromzeroError(question)


def main(word: str, pause: str, *texts: str) -> int:
    """The flow on the server that PREFECT_API_URL names, else on one of its own, as `fromzero run` does."""
    if os.environ.get("PREFECT_API_URL"):
        return run(word, pause, *texts)
    own = servers.Membership(home())
    try:
        os.environ.update(servers.environment(home()) | own.environ())
        return run(word, pause, *texts)
    finally:
        own.leave()


def run(word: str, pause: str, *texts: str) -> int:
    """The flow, its outcomes printed; the exit code."""
    from tasks.core.engine import grouped_tasks
    from tasks.core.engine.prefect_engine import Engine
    from tasks.core.engine.prefect_run import execute

    if alone := os.environ.get("TOY_ALONE"):  # so many shards have task runs of their own, more share two
        grouped_tasks.ALONE, grouped_tasks.RUNS = int(alone), 2
    places = json.loads(os.environ.get("TOY_PLACES", "{}"))
    chosen = EngineConf(on_code_change=os.environ.get("TOY_ON_CODE_CHANGE", "ask"), places=places)
    if places:
        Remote.silent, Remote.dead, Carrying.unseen = 6.0, 8.0, 30.0  # so that tests need not wait
    refresh = tuple(os.environ.get("TOY_REFRESH", "").split())
    engine = Engine(open_store(), home(), chosen, Quiet(), refresh, os.environ.get("TOY_UNTIL"))
    conf = toy.ToyConf(word=word, run=toy.ToyRun(pause=float(pause)))
    judged = "TOY_JUDGED" in os.environ
    shards = dict(text.split("=") for text in texts)
    state, error = "", ""
    try:
        state = execute(engine, "toy", lambda: toy.wiring(shards, conf, judged))
    except FromzeroError as caught:
        error = f"{type(caught).__name__}: {caught}"
    except KeyboardInterrupt:
        return 130
    found = {"run": engine.run_id, "state": state, "error": error}
    print(json.dumps({**found, "outcomes": [asdict(o) for o in engine.outcomes]}))
    return 1 if error else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command does
    sys.exit(main(*sys.argv[1:]))
