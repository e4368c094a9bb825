"""Where in a conversation, as a chat template writes it, the assistant writes; for templates that do not mark it.

What comes before an answer is what the template writes of the messages before it when it asks for the next one: what a
model is asked with later. Where the answer ends is found by writing the conversation once more with other words in its
place: what follows them is written whatever the answer is, and the control token that it begins with ends the turn.
Each is held against the whole text; a template that does not write its parts so is refused.

This file is also the code of registered models: it imports nothing of its own project.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

ASSISTANT = "assistant"
OTHER = "\ufdd1"
"""Unicode promises never to make a character of it. What stands in for an answer is a run of these, longer than all
that the conversation has."""

Write = Callable[[Sequence[dict[str, str]], bool], str]
"""Messages, and whether the next answer is asked for → the text that the template makes of them."""


class Unmarked(ValueError):
    """A template that does not show where an answer begins and ends."""


def end_of_turn(text: str, at: int, control: tuple[str, ...]) -> int | None:
    """Where the control token ends that stands at a place of a text, or behind white space there; `control` are the
    names, longer ones first. None where there is none."""
    while at < len(text) and text[at].isspace():
        at += 1
    return next((at + len(name) for name in control if text.startswith(name, at)), None)


def answer_spans(write: Write, messages: Sequence[dict[str, str]], control: tuple[str, ...]) -> list[tuple[int, int]]:
    """(begin, end) of each answer in `write(messages, False)`, in their order, with the end of its turn, as
    `end_of_turn` finds it.

    Raises `Unmarked` where the template does not show them, and what `write` raises.
    """
    whole = write(messages, False)
    other = f"a{OTHER * (1 + sum(one['content'].count(OTHER) for one in messages))}a"
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
        found.append((len(before), end_of_turn(whole, content_end, control) or content_end))
    return found
