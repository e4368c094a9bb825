"""Python processes forked from one that has loaded torch and transformers, so that the imports are paid once.

`python -m tests.preloaded` is that process: what it starts, and what those start, is forked and runs `-m MODULE` or
`-c CODE` as a new Python would. They are real processes, with parents, groups and signals of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

LOADED = ("llama", "qwen3", "gpt2", "bert", "t5")
"""Architectures whose modules are loaded as well."""


class Forked(subprocess.Popen[bytes]):
    """Popen, but that Python is not started anew."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        if isinstance(args, str) or not {"-m", "-c"} & set(args):
            super()._execute_child(args, *rest)
            return
        _, _, _, _, _, env, _, _, _, *pipes, _, _, _, _, _, new_session, _ = rest
        out, error = pipes[3], pipes[5]
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                for file, number in ((out, 1), (error, 2)):
                    if file != -1:
                        os.dup2(file, number)
                code = run(list(args), env, new_session)
            finally:
                os._exit(code)
        self._child_created = True
        self._close_pipe_fds(*pipes)


def run(args: list[str], env: dict[str, str] | None, new_session: bool) -> int:
    """Be the Python that `args` would start; its exit code."""
    if new_session:
        os.setsid()
    for name in os.listdir("/proc/self/fd"):  # a store that the parent serves must not outlive it
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                os.close(int(name))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    sys.stdout.reconfigure(line_buffering=True)
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    place = next(place for place, word in enumerate(args) if word in ("-m", "-c"))
    sys.argv = args[place + 1 :]
    try:
        if args[place] == "-m":
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv[0] = "-c"
            exec(compile(args[place + 1], "<string>", "exec"), {"__name__": "__main__"})
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()


def main() -> None:
    """Load everything, then start what is asked for, one JSON object a line, until stdin ends; then end it."""
    subprocess.Popen = Forked  # before torch takes its name for it
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    from importlib import import_module

    for name in (
        "pretrain.trainer.pretrain_loop",
        "training.trainer.bucket_checkpoint",
        "training.trainer.worker",
        "training.cluster.agent",
        "training.cluster.torchrun",
        "training.cluster.node",
    ):
        import_module(f"tasks.{name}")
    for name in ("torch.distributed.run", "torch.distributed.tensor", "torch.distributed.fsdp", "safetensors.torch"):
        import_module(name)
    for name in LOADED:
        import_module(f"transformers.models.{name}.modeling_{name}")
    print("ready", flush=True)
    started: dict[int, Forked] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            print(started[asked["wait"]].wait(), flush=True)
            continue
        with open(asked["out"], "wb") as out, open(asked["errors"], "wb") as errors:
            process = Forked(asked["args"], env=asked["env"], start_new_session=True, stdout=out, stderr=errors)
        started[process.pid] = process
        print(process.pid, flush=True)
    for process in started.values():  # what a failed test has left
        process.kill()


class Child:
    """A process that a `Preloaded` has started."""

    def __init__(self, owner: Preloaded, pid: int) -> None:
        self.owner, self.pid = owner, pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code, or minus the signal that ended it."""
        if self.returncode is None:
            self.returncode = self.owner.ask({"wait": self.pid})
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


class Preloaded:
    """The process that has loaded everything, from outside."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.preloaded"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def ask(self, what: dict[str, Any]) -> int:
        """Its answer to a request."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, args: Sequence[str], env: dict[str, str], out: Path, errors: Path) -> Child:
        """Start Python with these arguments, in a process group of its own."""
        asked = {"args": [sys.executable, *args], "env": env, "out": str(out), "errors": str(errors)}
        return Child(self, self.ask(asked))

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def preloaded() -> Iterator[Preloaded]:
    """Such a process, ended at the end."""
    process = Preloaded()
    try:
        yield process
    finally:
        process.close()


if __name__ == "__main__":
    main()
