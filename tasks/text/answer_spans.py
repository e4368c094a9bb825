"""Where in a conversation, as a chat template writes it, the assistant writes; for templates that do not mark it.

What comes before an answer is what the template writes of the messages before it when it asks for the next one: what a
model is asked with later. Where the answer ends is found by writing the conversation once more with other words in its
place: what follows them is written whatever the answer is, and the control token that it begins with ends the turn.
Each is held against the whole text; a template that does not write its parts so is refused.

This file is also the code of registered models: it imports nothing of its own project.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

ASSISTANT = "assistant"
OTHER = "\ufdd1"
"""Unicode promises never to make a character of it. What stands in for an answer is a run of these, longer than all
that the conversation has."""

Write = Callable[[Sequence[dict[str, str]], bool], str]
"""Messages, and whether the next answer is asked for → the text that the template makes of them."""


class Unmarked(ValueError):
    """A template that does not show where an answer begins and ends."""


def ends_of_turns(control: Iterable[str]) -> re.Pattern[str]:
    """Matches one of the names of control tokens, and white space before it."""
    named = sorted(control, key=len, reverse=True)
    return re.compile(rf"\s*(?:{'|'.join(map(re.escape, named))})" if named else "(?!)")


def answer_spans(write: Write, messages: Sequence[dict[str, str]], ends: re.Pattern[str]) -> list[tuple[int, int]]:
    """(begin, end) of each answer in `write(messages, False)`, in their order, its end of turn included, if it is one
    that `ends` matches.

    Raises `Unmarked` where the template does not show them, and what `write` raises.
    """
    whole = write(messages, False)
    longest = max((len(run) for one in messages for run in re.findall(f"{OTHER}+", one["content"])), default=0)
    other = f"a{OTHER * (longest + 1)}a"
    found: list[tuple[int, int]] = []
    for n, message in enumerate(messages):
        if message["role"] != ASSISTANT:
            continue
        before = write(messages[:n], True)
        if not whole.startswith(before):
            raise Unmarked(
                f"it writes what comes before message {n + 1} otherwise when it asks for that answer than when the "
                "answer is there, so that no mask is exact"
            )
        parts = write([*messages[:n], {**message, "content": other}, *messages[n + 1 :]], False).split(other)
        if len(parts) != 2:
            raise Unmarked(f"it writes the answer in message {n + 1} {len(parts) - 1} times, so that no mask is exact")
        content_end = len(whole) - len(parts[1])
        if not whole.endswith(parts[1]) or content_end < len(before):
            raise Unmarked(
                f"what it writes behind message {n + 1} depends on the words of the answer, so that no mask is exact"
            )
        end = ends.match(whole, content_end)
        found.append((len(before), end.end() if end else content_end))
    return found
