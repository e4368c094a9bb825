"""`python -m tests.toy_crowd COUNT TEXT…`: so many runs of the toy flow at once, each a process with a word of its own.

They are forked from a process that has imported what a run needs, so that they begin together; all use the server of
FROMZERO_HOME, which is up. What each says is in the home's crowd-NUMBER; prints their exit codes as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from flows.runs import standing
from tasks.core.services import servers
from tests import toy_run


def main(count: int, *texts: str) -> None:
    """Fork, wait, print."""
    folder, started = Path(os.environ["FROMZERO_HOME"]), dict[int, int]()
    found = servers.running(folder)
    assert found is not None
    os.environ.update({**servers.environment(folder), **servers.client(folder, found["url"])})
    os.environ["PREFECT_CLIENT_MAX_RETRIES"] = servers.CLIENT_RETRIES
    standing.prefect_by_environment()
    __import__("tasks.core.engine.prefect_run")  # after the environment, which Prefect reads then
    for number in range(count):
        if pid := os.fork():
            started[pid] = number
            continue
        os.dup2(os.open(folder / f"crowd-{number}", os.O_WRONLY | os.O_CREAT), 1)
        code = 1
        try:
            code = toy_run.main(f"word{number}", "0", *texts)
            sys.stdout.flush()
        finally:
            os._exit(code)
    codes = {started[pid]: os.waitpid(pid, 0)[1] for pid in started}
    print(json.dumps([codes[number] for number in range(count)]))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
