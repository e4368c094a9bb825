from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tasks.models.chat import windows
from tasks.models.chat.windows import IGNORE, Split
from tasks.text.encode import Encoder, Message
from tests.tasks.tiny_model import write_model

LENGTH = 64


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.load(write_model(tmp_path_factory.mktemp("model")))


def talk(seed: int, exchanges: int, system: bool = False) -> list[Message]:
    draw = random.Random(seed)
    turns: list[Message] = [{"role": "system", "content": "be brief"}] if system else []
    for n in range(exchanges):
        turns.append({"role": "user", "content": f"say {n} " + "axis " * draw.randint(0, 4)})
        turns += [{"role": "assistant", "content": f"{n}.{k} is said"} for k in range(draw.randint(1, 2))]
    return turns


def answers(encoder: Encoder, found: Split) -> list[str]:
    """What carries a loss, one text for each answer."""
    said: list[str] = []
    for example in found.examples:
        assert len(example.ids) == len(example.labels)
        assert all(label in (IGNORE, token) for token, label in zip(example.ids, example.labels, strict=True))
        text = encoder.tokenizer.decode([label for label in example.labels if label != IGNORE])
        said += [one for one in text.split("<|end|>") if one]
    return said


@pytest.mark.parametrize("exchanges", [1, 3, 9, 40])
@pytest.mark.parametrize("system", [False, True])
def test_each_answer_of_a_long_conversation_carries_its_loss_once(
    encoder: Encoder, exchanges: int, system: bool
) -> None:
    talks = [talk(seed, exchanges, system) for seed in range(6)]
    found = windows.split(encoder, talks, LENGTH)
    wanted = [one["content"] for turns in talks for one in turns if one["role"] == "assistant"]
    assert answers(encoder, found) == wanted
    assert all(len(example.ids) <= LENGTH for example in found.examples)
    assert found.trained == found.written and found.cut == 0
    assert found.split == (6 if exchanges >= 9 else found.split)


def test_every_part_begins_with_the_system_message_and_a_whole_turn(encoder: Encoder) -> None:
    found = windows.split(encoder, [talk(1, 30, system=True)], LENGTH)
    texts = [encoder.tokenizer.decode(example.ids) for example in found.examples]
    assert len(texts) > 3 and all(text.startswith("<|user|>be brief<|end|><|user|>say ") for text in texts)
    assert all(text.endswith(" is said<|end|>") for text in texts)


def test_a_part_sees_some_turns_before_its_own(encoder: Encoder) -> None:
    found = windows.split(encoder, [talk(1, 30)], 4 * LENGTH)
    for example in found.examples[1:]:
        first = next(n for n, label in enumerate(example.labels) if label != IGNORE)
        seen = encoder.tokenizer.decode(example.ids[:first])
        assert " is said<|end|>" in seen, "an earlier answer, without a loss"
        assert first <= LENGTH + 32


def test_what_fits_stays_as_the_template_writes_it(encoder: Encoder) -> None:
    turns = [*talk(0, 2), {"role": "user", "content": "bye"}]
    (whole,) = encoder.conversations([turns])
    found = windows.split(encoder, [turns], len(whole.ids))
    assert [example.ids for example in found.examples] == [whole.ids] and found.split == 0


def test_a_long_question_loses_its_beginning_and_its_answer_nothing(encoder: Encoder) -> None:
    turns: Any = [{"role": "user", "content": "axis " * 90 + "now"}, {"role": "assistant", "content": "shape, whole"}]
    found = windows.split(encoder, [turns], LENGTH)
    (example,) = found.examples
    assert answers(encoder, found) == ["shape, whole"] and len(example.ids) == LENGTH
    assert "now<|end|><|assistant|>shape" in encoder.tokenizer.decode(example.ids)
    assert (found.cut, found.trained) == (0, found.written)


def test_an_answer_longer_than_an_example_is_cut_and_counted(encoder: Encoder) -> None:
    turns: Any = [{"role": "user", "content": "go on"}, {"role": "assistant", "content": "shape " * 90}, *talk(0, 2)]
    found = windows.split(encoder, [turns], LENGTH)
    assert found.cut == 1 and 0 < found.trained < found.written
    assert len(found.examples[0].ids) == LENGTH
    assert answers(encoder, found)[1:] == [one["content"] for one in talk(0, 2) if one["role"] == "assistant"]


def test_nobodys_answer_is_no_example(encoder: Encoder) -> None:
    assert windows.parts([{"role": "user", "content": "hello?"}]) == ([], [])
    assert windows.split(encoder, [[{"role": "user", "content": "hello?"}]], LENGTH).examples == []


UNMARKED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|assistant|>' }}"
    "{% if loop.last %}{{ 'well: ' }}{% endif %}{{ m['content'] + '<|end|>' }}"
    "{% else %}{{ '<|user|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""A template that marks nothing, and writes the last answer otherwise than those before it, as Qwen3's does."""


@pytest.mark.parametrize("exchanges", [3, 30])
def test_a_template_that_writes_the_last_answer_otherwise_gives_each_its_loss_once(
    tmp_path: Path, exchanges: int
) -> None:
    encoder = Encoder.load(write_model(tmp_path))
    encoder.tokenizer.chat_template = UNMARKED
    turns = [one for n in range(exchanges) for one in talk(n, 1)[:2]]
    found = windows.split(encoder, [turns], LENGTH)
    said = answers(encoder, found)
    assert [one.removeprefix("well: ") for one in said] == [one["content"] for one in turns[1::2]]
    assert sum(one.startswith("well: ") for one in said) == len(found.examples)
