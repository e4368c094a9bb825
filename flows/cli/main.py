"""The command: `fromzero`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from flows.cli.commands import artifacts, models, pipeline, reports, runs, service, start, takedown
from flows.cli.printing import say
from tasks.core.errors import from_exception

INTERRUPTED = 130
READER_GONE = 141
"""What a shell says of a command whose output nobody reads any more, as in `fromzero logs last | head`."""
HEADINGS = {
    "Every day": ("init", "plan", "run", "runs", "logs", "cancel", "report"),
    "Models": ("generate", "chat", "predict", "compare", "promote", "rollback"),
    "Looking": ("show", "rejects", "lineage", "diff", "takedown", "verify", "gc"),
    "Machine": (
        "doctor",
        "setup",
        "up",
        "status",
        "login",
        "down",
        "deploy",
        "backup",
        "restore",
        "train-node",
        "completion",
    ),
}
"""The commands as --help groups them, each group in the order of use."""


RENAMED = {"classify": "predict"}
"""Commands that had another name, and the one that they have now."""


class Group(click.Group):
    """Errors become one message and an exit code; the traceback goes to the log."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; ends the process with the documented exit code when it fails.

        What it writes is its owner's alone.
        """
        os.umask(0o077)
        with _one_message():
            return super().invoke(ctx)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command that is meant; a former name is refused with the present one."""
        if args and args[0] in RENAMED:
            ctx.fail(f"`fromzero {args[0]}` is now `fromzero {RENAMED[args[0]]}`: write that")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands under headings; those without one come last."""
        known = set(self.commands)
        listed = {name for names in HEADINGS.values() for name in names}
        for heading, names in {**HEADINGS, "More": tuple(sorted(known - listed))}.items():
            there = [(name, self.commands[name]) for name in names if name in known]
            limit = formatter.width - 6 - max(map(len, known))
            if there:
                with formatter.section(heading):
                    formatter.write_dl([(name, command.get_short_help_str(limit)) for name, command in there])


@contextlib.contextmanager
def _one_message() -> Iterator[None]:
    for number in (signal.SIGTERM, signal.SIGUSR1):  # Slurm announces a time limit by the second
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except KeyboardInterrupt as interrupt:
        _leave(interrupt)
    except BrokenPipeError:
        if not _reader_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_GONE)
    except Exception as error:
        if type(error).__module__.startswith("pydantic_core") and "KeyboardInterrupt" in str(error):
            _leave(error)  # it came while pydantic called back, which makes an error of its own of whatever comes
        known = from_exception(error)
        _print_record(error)
        say(f"error: {known}", err=True)
        log = _log_traceback()
        if known is not error and log:
            say(f"the traceback is in {log}", err=True)
        sys.exit(known.exit_code)


def _leave(interrupt: BaseException) -> NoReturn:
    """End an interrupted command."""
    _print_record(interrupt)
    say("\ninterrupted: what is made stays made. Go on with the same command", err=True)
    sys.stdout.flush()
    os._exit(INTERRUPTED)  # leaving in the usual way would wait for a Prefect server that may be gone


def _reader_gone() -> bool:
    """Stdout is a pipe that nobody reads from."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in pipe.poll(0))


def _print_record(error: BaseException) -> None:
    """With --json the record of a run that failed is printed all the same."""
    context = click.get_current_context(silent=True)
    record = getattr(error, "record", None)
    if record is not None and "--json" in sys.argv and context is not None:
        click.echo(json.dumps(record))


def _log_traceback() -> str | None:
    from tasks.core.store.open import home

    path = home() / "logs" / "errors.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(traceback.format_exc() + "\n")
    except OSError:  # a home that cannot be written is what the message itself says
        return None
    return str(path)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fromzero")
def main() -> None:
    """From raw text to a promoted, served language model.

    \b
    fromzero run demo                   raw text to promoted models, in minutes
    fromzero run demo                   again: only what changed
    fromzero plan demo tokenizer.vocab_size=8192
                                        what would run, and why
    fromzero init ~/notes               a recipe for your own text
    fromzero up                         pages, worker and schedules

    `fromzero COMMAND --help` explains a command, with examples.
    """


for module in (pipeline, runs, reports, artifacts, takedown, models, service, start):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            main.add_command(command)


if __name__ == "__main__":
    main()
