"""A cached re-run, whole process, on a running server: `fromzero run` beside a plain Prefect flow of as many tasks.

`python -m tests.benchmarks.cached_run [HOME]`; HOME holds a finished run of tests/tiny.yaml (made if there is none).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tasks.core.services.servers import Membership, environment

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
REPEATS = 7


def timed(command: list[str], environ: dict[str, str]) -> tuple[float, str]:
    """Seconds of a whole process, and what it printed."""
    started = time.perf_counter()
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{command} failed:\n{ran.stderr[-3000:]}")
    return time.perf_counter() - started, ran.stdout


def main(home: Path) -> None:
    """Measure, print a table, write results/cached_run.json."""
    member = Membership(home)
    environ = {**os.environ, **environment(home), "FROMZERO_HOME": str(home), **member.environ()}
    environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    ours = [sys.executable, "-m", "flows.cli.main", "run", "tests/tiny.yaml", "--json"]
    steps = json.loads(timed(ours, environ)[1])["steps"]
    peer = [sys.executable, str(Path(__file__).with_name("plain_prefect.py")), str(len(steps)), str(home / "plain")]
    timed(peer, environ)
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(REPEATS):
        took, out = timed(ours, environ)
        states = {step["state"] for step in json.loads(out)["steps"]}
        if states != {"cached"}:
            raise SystemExit(f"not a cached run: {states}")
        seconds["ours"].append(took)
        seconds["peer"].append(timed(peer, environ)[0])
    member.leave()
    mine, theirs = (statistics.median(seconds[who]) for who in ("ours", "peer"))
    row = {
        "what": f"cached re-run of {len(steps)} steps, whole process",
        "ours": round(mine, 2),
        "peer": round(theirs, 2),
        "peer_name": "plain Prefect",
        "ratio": round(theirs / mine, 2),
        "unit": "s",
        "device": f"{os.cpu_count()} cores, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cached_run.json").write_text(json.dumps([row], indent=1) + "\n")
    print(f"{row['what']}: {mine:.2f} s, {row['peer_name']} {theirs:.2f} s, ratio {row['ratio']}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).absolute())
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
