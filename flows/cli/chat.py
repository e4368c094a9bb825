"""A conversation in the terminal: a line is a turn, Ctrl-C stops the answer, Ctrl-D leaves."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from flows.cli.printing import say

HELP = "/reset forgets what was said, /quit or Ctrl-D leaves, Ctrl-C stops an answer"


def talk(conversation: Any) -> None:
    """Take turns until there are no more lines; prompts are shown only where somebody sits at a terminal."""
    person = sys.stdin.isatty()
    if not person and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if person:
        import readline  # noqa: F401  # input() edits lines and remembers them once this is there

        say(f"{conversation.name} version {conversation.version}. {HELP}")
    for number in (signal.SIGTERM, signal.SIGUSR1):  # Ctrl-C only stops an answer; these end the talk
        signal.signal(number, signal.SIG_DFL)
    for line in _lines(person):
        word = line.strip()
        if word == "/quit":
            return
        if word == "/reset":
            conversation.reset()
            say("(forgotten)", err=not person)
        elif word.startswith("/"):
            say(f"no such command: {word}. {HELP}", err=not person)
        elif word:
            _answer(conversation, word)


def _lines(person: bool) -> Iterator[str]:
    if not person:
        yield from sys.stdin
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            say("\n/quit or Ctrl-D leaves")


def _answer(conversation: Any, said: str) -> None:
    with _stoppable() as stopped:
        text = conversation.answer(said, lambda piece: say(piece, nl=False), lambda: bool(stopped))
    say(" (stopped)" if stopped else "" if text.strip() else "(no answer)")


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Inside, Ctrl-C is noted and nothing else."""
    stopped: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: stopped.append(number))
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
