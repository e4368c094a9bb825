"""The demo, killed again and again, must end with the undisturbed run's artifacts.

`python -m tests.chaos.soak [KILLS] [SEED]`: one undisturbed run, one whose run, step children and trainers are killed
with SIGKILL at random moments. Prints what was killed and compares every digest.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def start(home: Path) -> subprocess.Popen[bytes]:
    """One `fromzero run demo` on a home."""
    log = (home / "out.json").open("wb")
    environ = {**os.environ, "FROMZERO_HOME": str(home)}
    command = [sys.executable, "-m", "flows.cli.main", "run", "demo", "--json"]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=subprocess.DEVNULL)


def digests(home: Path) -> dict[str, str]:
    """Digest by step, shard and number of the call."""
    found: dict[str, str] = {}
    for step in json.loads((home / "out.json").read_text())["steps"]:
        if step["digest"]:
            name = f"{step['step']}[{step['shard'] or ''}]"
            found[name if name not in found else f"{name} again"] = step["digest"]
    return found


def victims(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The run itself and everything below it."""
    try:
        return [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def disturbed(home: Path, kills: int, chance: random.Random) -> int:
    """Run to the end through so many kills; how often the whole run had to be started again."""
    run, starts = start(home), 1
    while kills:
        time.sleep(chance.uniform(3, 25))
        living = victims(run)
        if run.poll() is None and living:
            victim = chance.choice(living)
            try:
                words = " ".join(victim.cmdline())[-90:]
                victim.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
            kills -= 1
            print(f"killed {'the run' if victim.pid == run.pid else words}", flush=True)
            time.sleep(1)
        if run.poll() is not None:
            run, starts = start(home), starts + 1
    while run.wait() != 0:
        run, starts = start(home), starts + 1
        if starts > 50:
            raise SystemExit("the run does not come to its end")
    return starts


def main(kills: int = 20, seed: int | None = None) -> None:
    """Compare an undisturbed and a disturbed run; exits 1 if any digest differs."""
    seed = seed if seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        calm, wild = Path(folder, "calm"), Path(folder, "wild")
        calm.mkdir()
        wild.mkdir()
        if start(calm).wait():
            raise SystemExit("the undisturbed run failed")
        starts = disturbed(wild, kills, random.Random(seed))
        expected, found = digests(calm), digests(wild)
        wrong = [name for name in expected if found.get(name) != expected[name]]
        print(f"{kills} kills, {starts} starts, {len(expected)} artifacts, {len(wrong)} differ {wrong}")
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
