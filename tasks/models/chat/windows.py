"""Conversations as training examples of a length: long ones are split at turns, and what carries no loss is counted.

A conversation longer than an example becomes several, each a conversation of its own as the template writes it: its
system message, some turns that earlier ones have had their loss in (the context), and the turns whose answers carry
their loss here. Each answer carries it once. What is cut is what does not fit an example by itself: the beginning of a
long question, the end of an answer that is longer than an example.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl

from tasks.formats.tokens import IGNORE
from tasks.text.encode import Encoder, Message, Rendered

ASSISTANT, SYSTEM = "assistant", "system"
CONTEXT = 0.25
"""Share of an example that earlier turns may take."""

Exchange = list[Message]
"""What is said up to an answer, and the answer."""
Parted = dict[int, tuple[list[Message], list[Exchange]]]
"""The system messages and the exchanges of some conversations, by their number."""


@dataclass(frozen=True)
class Taken:
    """The conversations of a part that have an answer, at most so many, and what the part holds besides."""

    table: pl.DataFrame
    """(id, messages), in order of id."""
    without_answer: int
    """Conversations in which the assistant says nothing."""
    beyond: int
    """Conversations beyond the number that is asked for."""

    @property
    def found(self) -> int:
        """All conversations of the part."""
        return self.table.height + self.without_answer + self.beyond


@dataclass(frozen=True)
class Example:
    """Token ids, and for each the label: the id where it carries a loss, else `IGNORE`."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Split:
    """The examples made of conversations, and what became of their answers' tokens."""

    examples: list[Example]
    split: int
    """Conversations that became more than one example."""
    cut: int
    """Answers that are longer than an example."""
    written: int
    """Tokens that assistants wrote, an answer's end included."""

    @property
    def trained(self) -> int:
        """Tokens that carry a loss."""
        return sum(label != IGNORE for example in self.examples for label in example.labels)


@dataclass(frozen=True)
class _Size:
    """Of an exchange by itself, with the system messages and all that the template puts before a beginning: so a window
    is hardly ever longer than the sum of its exchanges."""

    tokens: int
    answers: int
    """Parts of them that the assistant writes."""


@dataclass(frozen=True)
class _Window:
    """One example to be: which exchanges of which conversation, the first `context` of them without a loss."""

    conversation: int
    first: int
    last: int
    context: int


def conversations(paths: Iterable[Path], most: int | None) -> Taken:
    """The conversations with an answer in documents tables, in order of id, at most `most`."""
    tables = [pl.scan_parquet(path).filter(pl.col("messages").list.len() > 0) for path in paths]
    table = pl.concat(tables).select("id", "messages").sort("id").collect()
    answers = pl.element().struct.field("role") == ASSISTANT
    answered = table.filter(pl.col("messages").list.eval(answers).list.any())
    kept = answered if most is None else answered.head(most)
    return Taken(kept, table.height - answered.height, answered.height - kept.height)


def kept_of(length: int, before: int) -> int:
    """Tokens of an answer longer than an example that carry a loss: behind some of the `before` that it answers to."""
    return length - min(before, max(1, int(length * CONTEXT)))


def split(encoder: Encoder, conversations: Sequence[Sequence[Message]], length: int) -> Split:
    """Examples of at most `length` tokens in the order of the conversations, each of which has an answer.

    Raises `Refused` for a conversation that the template does not take.
    """
    whole = encoder.conversations(conversations)
    parted = {n: parts(conversations[n]) for n, one in enumerate(whole) if len(one.ids) > length}
    sizes = _sizes(encoder, parted)
    windows = [window for n in parted for window in _windows(n, sizes[n], length)]
    rendered = iter(encoder.conversations([_messages(parted, window) for window in windows]))
    found: dict[int, list[Example]] = {n: [] for n in range(len(whole))}
    cut = 0
    for window, one in zip(windows, rendered, strict=True):
        while len(one.ids) > length and window.context:
            window = _Window(window.conversation, window.first + 1, window.last, window.context - 1)
            (one,) = encoder.conversations([_messages(parted, window)])
        before = sizes[window.conversation][window.first : window.first + window.context]
        example, without_end = _labelled(one, sum(size.answers for size in before), length)
        cut += without_end
        found[window.conversation].append(example)
    for n, one in enumerate(whole):
        if n not in parted:
            found[n].append(_labelled(one, 0, length)[0])
    several = sum(len(examples) > 1 for examples in found.values())
    examples = [one for n in range(len(whole)) for one in found[n] if any(label != IGNORE for label in one.labels)]
    return Split(examples, several, cut, sum(sum(one.written) for one in whole))


def parts(messages: Sequence[Message]) -> tuple[list[Message], list[Exchange]]:
    """The system messages at the beginning, and the exchanges after them; what nobody answers is left out."""
    begin = next((n for n, one in enumerate(messages) if one["role"] != SYSTEM), len(messages))
    found: list[Exchange] = [[]]
    for n, message in enumerate(messages[begin:], begin):
        found[-1].append(message)
        ends = n + 1 == len(messages) or messages[n + 1]["role"] != ASSISTANT
        if message["role"] == ASSISTANT and ends:
            found.append([])
    return list(messages[:begin]), found[:-1]


def _sizes(encoder: Encoder, parted: Parted) -> dict[int, list[_Size]]:
    flat = iter(encoder.conversations([[*system, *one] for system, said in parted.values() for one in said]))
    return {
        n: [_Size(len(one.ids), len(one.answers)) for one in islice(flat, len(said))] for n, (_, said) in parted.items()
    }


def _windows(conversation: int, found: Sequence[_Size], length: int) -> Iterator[_Window]:
    sizes, count, done = [size.tokens for size in found], len(found), 0
    while done < count:
        first, room = done, int(length * CONTEXT)
        while first > 0 and sizes[first - 1] <= room and sizes[done] + sum(sizes[first - 1 : done]) <= length:
            first -= 1
            room -= sizes[first]
        last, used = done + 1, sum(sizes[first : done + 1])
        while last < count and used + sizes[last] <= length:
            used += sizes[last]
            last += 1
        yield _Window(conversation, first, last, done - first)
        done = last


def _messages(parted: Parted, window: _Window) -> list[Message]:
    system, said = parted[window.conversation]
    return [*system, *(message for one in said[window.first : window.last] for message in one)]


def _labelled(one: Rendered, context: int, length: int) -> tuple[Example, bool]:
    """The example of a rendering, the first `context` parts that are written without a loss, and whether an answer lost
    its end."""
    begin = one.answers[context][0] if context < len(one.answers) else len(one.ids)
    written = [n for n, flag in enumerate(one.written) if flag and n >= begin]
    labels = [IGNORE] * len(one.ids)
    for n in written:
        labels[n] = one.ids[n] if n else IGNORE  # nothing foretells the first token
    if len(one.ids) <= length or not written:
        return Example(one.ids[:length], labels[:length]), False
    first, last = written[0], written[-1] + 1
    if last - first < length:  # a long question loses its beginning
        return Example(one.ids[last - length : last], labels[last - length : last]), False
    begin = first - (length - kept_of(length, first))
    return Example(one.ids[begin : begin + length], labels[begin : begin + length]), True
