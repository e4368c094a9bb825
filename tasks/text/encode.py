"""Texts and conversations as token ids: the one place that asks a tokenizer.

Text is text: a control token's name in a text or in a message is encoded as the characters that it has, as pretraining
reads it; control tokens come from the chat template alone. Where a name stands in a text, a mark is put into it, which
the tokenizer takes out again once it has looked for its control tokens and found none there. So no id of a text depends
on what is done about names, and what a template does to a message (trim it, say) is done as ever.

This file is also the code of registered models: it imports nothing of its own project but what stands alone as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.text.answer_spans import Unmarked, answer_spans

MARK = "\ufdd0"
"""Unicode promises never to make a character of it. A mark is a run of these, longer than all that a text has."""
TOGETHER = 512
"""Texts that are encoded at once: bounds the memory of what is thrown away."""
DAY = "26 Jul 2024"
"""The day that Llama's templates write, which else is today's: what is trained on would be another text every day, and
what is asked later as well. It is the one that they have where there is no calendar."""

Message = dict[str, str]
Spans = list[tuple[int, int]]
"""Begins and ends of parts of a text."""


class Refused(ValueError):
    """The template refuses a conversation, the `number`-th of those given."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


@dataclass(frozen=True)
class Rendered:
    """A conversation's token ids, and for each whether the assistant writes it (else it is read)."""

    ids: list[int]
    written: list[bool]
    answers: list[tuple[int, int]]
    """The first token of each part that the assistant writes, and the one behind its last."""


class Encoder:
    """A tokenizer to which text is text: one of transformers, or a `tokenizers.Tokenizer` for texts alone."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """Of the tokenizer in a model's folder, from its files alone."""
        from transformers import PreTrainedTokenizerFast

        return cls(PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True, trust_remote_code=False))

    @classmethod
    def of_file(cls, path: Path | str) -> Encoder:
        """Of a tokenizer.json; encodes texts, not conversations. Raises what `tokenizers` raises."""
        from tokenizers import Tokenizer

        return cls(Tokenizer.from_file(str(path)))

    def texts(self, texts: Sequence[str], most: int | None = None) -> list[list[int]]:
        """The ids of each text, of which the first `most` are kept. All of them, decoded, are the text again where the
        tokenizer works on bytes."""
        return [encoding.ids[:most] for encoding in self._of_texts(texts)]

    def placed(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Spans]]:
        """The ids of each text, and of which characters each is."""
        for text, encoding in zip(texts, self._of_texts(texts), strict=True):
            marks = 1 + text.count(MARK) if self._names.search(text) else 0
            into = [match.end() for match in self._names.finditer(text)] if marks else []
            yield encoding.ids, [(_without(begin, into, marks), _without(end, into, marks))
                                 for begin, end in encoding.offsets]  # fmt: skip

    def framed(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """The ids of each text between those that the tokenizer itself puts around one, `most` in all; also of a
        tokenizer that is written in Python."""
        if self._backend is None:
            options = {"truncation": True, "max_length": most, "split_special_tokens": True}
            return [list(ids) for ids in self.tokenizer(list(texts), **options)["input_ids"]]
        room, found = max(most - self._backend.num_special_tokens_to_add(False), 0), []
        for encoding in self._of_texts(texts):
            encoding.truncate(room)
            found.append(list(self._backend.post_process(encoding, None, True).ids))
        return found

    def conversations(self, conversations: Sequence[Sequence[Message]], ask: bool = False) -> list[Rendered]:
        """Each conversation as the chat template writes it; `ask`: up to where the assistant's next answer begins.

        Without a control token's name in a message these are the ids of transformers' `apply_chat_template`. Raises
        `Refused` for a conversation that the template does not take.
        """
        drawn = [self._render(number, messages, ask) for number, messages in enumerate(conversations)]
        found = []
        for number, encoding in enumerate(self._encoded([(text, marks) for text, marks, _ in drawn])):
            text, _, spans = drawn[number]
            for token, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True):
                if token in self._control_ids and text[begin:end].strip() not in self.control:
                    raise Refused(number, f"the tokenizer makes a control token of {text[begin:end]!r}")
            found.append(Rendered(encoding.ids, _within(encoding.offsets, spans), _parts(encoding.offsets, spans)))
        if not self._marks_answers and not ask:
            self._prove(drawn, found)
        return found

    def _prove(self, drawn: Sequence[tuple[str, int, Spans]], found: Sequence[Rendered]) -> None:
        """Raise `Refused` for a conversation in which the tokens before an answer are others than those that it will be
        asked for with, where the template does not mark it."""
        begins = [(number, n, text[:begin]) for number, (text, _, spans) in enumerate(drawn)
                  for n, (begin, _) in enumerate(spans)]  # fmt: skip
        given = [(before, drawn[number][1] if MARK in before else 0) for number, _, before in begins]
        for (number, n, _), encoding in zip(begins, self._encoded(given), strict=True):
            if encoding.ids != found[number].ids[: found[number].answers[n][0]]:
                raise Refused(
                    number,
                    f"the beginning of its {n + 1}. answer is joined with what the template writes before it to one "
                    "token, so that no mask is exact: take the white space there away",
                )

    @cached_property
    def _marks_answers(self) -> bool:
        """Whether the template says itself what the assistant writes."""
        return re.search(r"\{%-?\s*generation\s*-?%\}", self.tokenizer.get_chat_template()) is not None

    @cached_property
    def _backend(self) -> Any:
        """A copy as `tokenizers` has it, that neither cuts off nor fills up; None for a tokenizer in Python."""
        from tokenizers import Tokenizer

        held = self.tokenizer if isinstance(self.tokenizer, Tokenizer) else None
        held = held or getattr(self.tokenizer, "backend_tokenizer", None)
        if held is None:
            return None
        copy = Tokenizer.from_str(held.to_str())
        copy.no_truncation()
        copy.no_padding()
        return copy

    @cached_property
    def control(self) -> dict[str, int]:
        """The control tokens' names and ids: special tokens, and what else the template writes of added ones. A name
        of one character is none: no mark can be put into it, so it stays what the tokenizer takes it for."""
        template = getattr(self.tokenizer, "chat_template", None) or ""
        written = template if isinstance(template, str) else "".join(template.values())
        return {
            token.content: number
            for number, token in self._backend.get_added_tokens_decoder().items()
            if len(token.content) > 1 and (token.special or (token.content in written and token.content.strip()))
        }

    @cached_property
    def _names(self) -> re.Pattern[str]:
        """Matches the first character of each name, the rest only looked at: names may overlap."""
        rests: dict[str, list[str]] = {}
        for name in sorted(self.control, key=len, reverse=True):
            rests.setdefault(name[0], []).append(re.escape(name[1:]))
        firsts = (f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items())
        return re.compile("|".join(firsts) or "(?!)")

    @cached_property
    def _ends(self) -> tuple[frozenset[str], frozenset[str]]:
        """Beginnings and ends of names: what a message may not lend to a name that begins or ends in the template."""
        cuts = [(name[:n], name[n:]) for name in self.control for n in range(1, len(name))]
        return frozenset(begin for begin, _ in cuts), frozenset(end for _, end in cuts)

    def _of_texts(self, texts: Sequence[str]) -> Iterator[Any]:
        given = []
        for text in texts:
            marks = 1 + text.count(MARK) if self._names.search(text) else 0
            given.append((self._names.sub(rf"\g<0>{MARK * marks}", text), marks))
        for text, encoding in zip(texts, self._encoded(given), strict=True):
            if not self._control_ids.isdisjoint(encoding.ids):
                raise ValueError(f"the tokenizer makes a control token of the text {text[:80]!r}")
            yield encoding

    def _encoded(self, given: Sequence[tuple[str, int]]) -> Iterator[Any]:
        """The encodings, in order, of texts and the lengths of the marks in them."""
        for start in range(0, len(given), TOGETHER):
            some = given[start : start + TOGETHER]
            found: dict[int, Any] = {}
            for marks in sorted({marks for _, marks in some}):
                group = [n for n, (_, length) in enumerate(some) if length == marks]
                texts = [some[n][0] for n in group]
                found |= zip(group, self._reading(marks).encode_batch(texts, add_special_tokens=False), strict=True)
            yield from (found[n] for n in range(len(some)))

    def _reading(self, marks: int) -> Any:
        """The tokenizer that takes marks of a length out of a text once it has looked for control tokens."""
        if not marks:
            return self._backend
        return self._usual if marks == 1 else self._taking_out(marks)  # longer ones are hardly ever needed

    @cached_property
    def _usual(self) -> Any:
        return self._taking_out(1)

    def _taking_out(self, marks: int) -> Any:
        pattern = {"String": MARK * marks}
        backend = self._rebuilt("normalizer", {"type": "Replace", "pattern": pattern, "content": ""})
        tried = [self._names.sub(rf"\g<0>{MARK * marks}", name) for name in self.control]
        written = {token for one in backend.encode_batch(tried, add_special_tokens=False) for token in one.ids}
        if written & self._control_ids:
            # the model itself (Unigram, as T5 has it) knows a name as a piece: then the mark has to part pieces
            split = {"type": "Split", "pattern": pattern, "behavior": "Removed", "invert": False}
            backend = self._rebuilt("pre_tokenizer", split)
        return backend

    def _rebuilt(self, part: str, first: dict[str, Any]) -> Any:
        """The tokenizer with one more thing to do at the beginning of a part of it."""
        from tokenizers import Tokenizer

        state = json.loads(self._backend.to_str())
        lists = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}
        state[part] = {"type": "Sequence", lists[part]: [first, *([state[part]] if state[part] else [])]}
        for token in state["added_tokens"]:
            if token["content"] in self.control:
                token["normalized"] = False  # looked for before marks are taken out
        return Tokenizer.from_str(json.dumps(state))

    @cached_property
    def _longest_first(self) -> tuple[str, ...]:
        return tuple(sorted(self.control, key=len, reverse=True))

    def _render(self, number: int, messages: Sequence[Message], ask: bool) -> tuple[str, int, Spans]:
        """A conversation as the template writes it, the length of the marks in it, and where the assistant writes (of a
        template without marks not when it is asked)."""
        from jinja2 import TemplateError

        marks = 1 + sum(value.count(MARK) for message in messages for value in message.values())
        guarded = [
            {name: value if name == "role" else self._guarded(value, MARK * marks) for name, value in message.items()}
            for message in messages
        ]
        try:
            text, spans = self._written(guarded, ask)
            if not self._marks_answers and not ask:
                spans = answer_spans(lambda some, ask: self._written(some, ask)[0], guarded, self._longest_first)
        except (TemplateError, Unmarked) as error:
            raise Refused(number, str(error)) from error
        return text, marks if MARK * marks in text else 0, spans

    def _written(self, messages: Sequence[Message], ask: bool) -> tuple[str, Spans]:
        """What the template makes of messages, and the parts that it marks as the assistant's."""
        from transformers.utils.chat_template_utils import render_jinja_template

        masked = self._marks_answers
        rendered: Any = render_jinja_template(
            [list(messages)], chat_template=self.tokenizer.get_chat_template(), add_generation_prompt=ask,
            return_assistant_tokens_mask=masked, date_string=DAY, **self.tokenizer.special_tokens_map,
        )  # fmt: skip
        (text,), spans = rendered
        return text, spans[0] if masked else []

    def _guarded(self, text: str, mark: str) -> str:
        """A message's text, with marks in each name and in what may become one beside what the template writes."""
        begins, ends = self._ends
        places = {match.end() for match in self._names.finditer(text)}
        longest = min(len(text), max(map(len, self.control), default=0))
        places |= {len(text) - n + 1 for n in range(1, longest + 1) if text[-n:] in begins}
        places |= {0} if any(text[:n] in ends for n in range(1, longest + 1)) else set()
        pieces = zip([0, *sorted(places)], [*sorted(places), len(text)], strict=True)
        return mark.join(text[begin:end] for begin, end in pieces)

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        return frozenset(self.control.values()) - {getattr(self.tokenizer, "unk_token_id", None)}


def _without(place: int, into: Sequence[int], marks: int) -> int:
    """A place in a text, of one in the text with marks of a length put in at some places."""
    for number, at in enumerate(into):
        if place <= at + number * marks:
            return place - number * marks
        if place < at + (number + 1) * marks:
            return at
    return place - len(into) * marks


def _within(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """For each token, by its place in a text, whether it reaches into one of the spans."""
    found, span = [], 0
    for begin, end in offsets:
        while span < len(spans) and spans[span][1] <= begin:
            span += 1
        found.append(span < len(spans) and end > spans[span][0])
    return found


def _parts(offsets: Sequence[tuple[int, int]], spans: Spans) -> list[tuple[int, int]]:
    """For each span the first token, by its place in a text, that reaches into it, and the one behind the last."""
    found, first = [], 0
    for begin, end in spans:
        while first < len(offsets) and offsets[first][1] <= begin:
            first += 1
        last = first
        while last < len(offsets) and offsets[last][0] < end:
            last += 1
        found.append((first, last))
    return found
