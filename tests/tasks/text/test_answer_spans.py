"""Masks of chat templates that mark nothing: what the families write, in their essential form; what is not exact."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tasks.text.answer_spans import Unmarked, answer_spans
from tasks.text.encode import Encoder, Message, Refused
from tests.tasks.finetune.families import byte_level

CONTROL = [
    "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<s>",
    "</s>", "[INST]", "[/INST]", "<bos>", "<start_of_turn>", "<end_of_turn>", "<|endoftext|>", "<think>", "</think>",
]  # fmt: skip
ALTERNATE = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN2 = "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are Q.<|im_end|>\n' }}{% endif %}" + CHATML
QWEN3 = (
    "{% set ns = namespace(last=messages|length - 1, found=false) %}{% for m in messages[::-1] %}"
    "{% if not ns.found and m['role'] == 'user' %}{% set ns.found = true %}"
    "{% set ns.last = messages|length - 1 - loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{% set said = m['content'] %}{% set why = '' %}"
    "{% if '</think>' in said %}{% set why = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ '<|im_start|>assistant\n' }}"
    "{% if loop.index0 > ns.last and (loop.last or why) %}{{ '<think>\n' + why + '\n</think>\n\n' }}{% endif %}"
    "{{ said.lstrip('\n') + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA2 = (
    ALTERNATE + "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'].strip() "
    "+ ' [/INST]' }}{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set messages = messages[1:] %}{% endif %}" + ALTERNATE + "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{% if loop.last and system is defined %}{{ '[INST] ' + system + '\n\n' + m['content'] + '[/INST]' }}{% else %}"
    "{{ '[INST] ' + m['content'] + '[/INST]' }}{% endif %}{% else %}{{ ' ' + m['content'] | trim + eos_token }}"
    "{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    + ALTERNATE
    + "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
JOINS = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %} ar{% endif %}{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %} ar{% endif %}"
)
COUNTS = CHATML + "{% for m in messages if m['role'] == 'assistant' %}{{ m['content'] | length }}{% endfor %}"
FAMILIES: dict[str, tuple[str, str, str, str]] = {
    "chatml": (CHATML, "<s>", "</s>", "{}<|im_end|>"),
    "qwen2": (QWEN2, "<s>", "<|endoftext|>", "{}<|im_end|>"),
    "llama3": (LLAMA3, "<|begin_of_text|>", "<|eot_id|>", "{}<|eot_id|>"),
    "llama2": (LLAMA2, "<s>", "</s>", " {} </s>"),
    "mistral": (MISTRAL, "<s>", "</s>", " {}</s>"),
    "gemma": (GEMMA, "<bos>", "<end_of_turn>", "{}<end_of_turn>"),
    "zephyr": (ZEPHYR, "<s>", "</s>", "{}</s>"),
}
"""Template, tokens that begin and end a text, and what of an answer carries a loss."""


@pytest.fixture(scope="module")
def backend() -> Tokenizer:
    return byte_level(CONTROL)


def encoder_of(backend: Tokenizer, template: str, begin: str = "<s>", end: str = "</s>") -> Encoder:
    from transformers import PreTrainedTokenizerFast

    held: Any = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=begin, eos_token=end)
    held.chat_template = template
    return Encoder(held)


def turns(said: list[str]) -> list[Message]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]


def written(encoder: Encoder, talk: list[Message]) -> list[str]:
    """The parts that carry a loss, held against what the template writes and asks with."""
    (found,) = encoder.conversations([talk])
    assert found.ids == encoder.tokenizer.apply_chat_template(talk)["input_ids"]
    answers = [n for n, one in enumerate(talk) if one["role"] == "assistant"]
    assert [flag for flag in found.written if flag] == [True] * sum(end - begin for begin, end in found.answers)
    for n, (begin, end) in zip(answers, found.answers, strict=True):
        assert all(found.written[begin:end])
        (asked,) = encoder.conversations([talk[:n]], ask=True)
        assert found.ids[:begin] == asked.ids, "what it is asked with is what it has seen in training"
    return [encoder.tokenizer.decode(found.ids[begin:end]) for begin, end in found.answers]


word = st.text("abcdefgh é.,!?'1 <|", min_size=1, max_size=20).map(str.strip).filter(bool)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=25)
@given(said=st.lists(word, min_size=2, max_size=7))
@example(["Hi", "Ho"])
@example(["<|im_end|>", "<|im_end|></s>", "[/INST] a", "<|eot_id|><end_of_turn>"])
@example(["a", "\ufdd1\ufdd1", "b", "a\ufdd1a"])
@example(["same", "same", "same", "same"])
def test_exactly_the_answers_and_their_ends_carry_a_loss(backend: Tokenizer, name: str, said: list[str]) -> None:
    template, begin, end, form = FAMILIES[name]
    encoder = encoder_of(backend, template, begin, end)
    plain = [re.sub(r"<\|im_end\|>|</s>|\[/INST\]|<\|eot_id\|>|<end_of_turn>", "x", text) for text in said]
    assert written(encoder, turns(plain)) == [form.format(text) for text in plain[1::2]]
    (named,) = encoder.conversations([turns(said)])
    assert len(named.answers) == len(said) // 2
    for (first, last), text in zip(named.answers, said[1::2], strict=True):
        assert encoder.tokenizer.decode(named.ids[first:last]) == form.format(text), "a name in an answer ends nothing"


def test_what_a_template_writes_of_its_own_before_the_last_answer_carries_a_loss_there(backend: Tokenizer) -> None:
    encoder = encoder_of(backend, QWEN3, end="<|endoftext|>")
    assert written(encoder, turns(["a", "b"])) == ["<think>\n\n</think>\n\nb<|im_end|>"]
    assert written(encoder, turns(["a", "b", "c", "d"])) == ["b<|im_end|>", "<think>\n\n</think>\n\nd<|im_end|>"]


def test_the_day_that_a_template_writes_is_the_same_every_day(backend: Tokenizer) -> None:
    asks = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    encoder = encoder_of(backend, asks + "{{ date_string }}" + CHATML)
    (found,) = encoder.conversations([turns(["a", "b"])])
    assert encoder.tokenizer.decode(found.ids).startswith("26 Jul 2024<|im_start|>")


def test_answers_that_follow_each_other_and_systems_are_told_apart(backend: Tokenizer) -> None:
    talk = [{"role": role, "content": role[0]} for role in ("system", "assistant", "assistant", "tool", "assistant")]
    assert written(encoder_of(backend, CHATML), talk) == ["a<|im_end|>"] * 3


@pytest.mark.parametrize(
    ("template", "talk", "reason"),
    [
        (MISTRAL, [{"role": "system", "content": "Be kind."}, *turns(["a", "b"])],
         "writes what comes before message 3 otherwise when it asks for that answer"),
        (JOINS, turns(["a", "ray"]), r"the beginning of its 1\. answer is joined with what the template writes"),
        ("{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}", turns(["a", "b"]),
         "writes the answer in message 2 0 times"),
        ("{% for m in messages %}{{ m['content'] + m['content'] }}{% endfor %}", turns(["a", "b"]),
         "writes the answer in message 2 2 times"),
        (COUNTS, turns(["a", "b"]),
         "what it writes behind message 2 depends on the words of the answer"),
        (GEMMA, [{"role": "system", "content": "Be kind."}, *turns(["a", "b"])], "no system"),
    ],
    ids=["a moved system message", "a joined token", "no answer", "an answer twice", "an end that depends", "refused"],
)  # fmt: skip
def test_what_is_not_exact_is_refused_with_the_reason(
    backend: Tokenizer, template: str, talk: list[Message], reason: str
) -> None:
    fine = turns(["a", "b"]) if template in (MISTRAL, JOINS, GEMMA) else None
    encoder = encoder_of(backend, template)
    many = [fine, talk] if fine else [talk]
    with pytest.raises(Refused, match=reason) as refused:
        encoder.conversations(many)  # type: ignore[arg-type]
    assert refused.value.number == len(many) - 1


def test_without_a_control_token_an_answer_ends_with_its_words() -> None:
    def write(messages: Any, ask: bool) -> str:
        return "".join(f"### {one['role']}: {one['content']}\n" for one in messages) + (
            "### assistant: " if ask else ""
        )

    talk = turns(["a", "b", "c", "d"])
    whole = write(talk, False)
    assert [whole[begin:end] for begin, end in answer_spans(write, talk, ())] == ["b", "d"]
    with pytest.raises(Unmarked, match="message 2 0 times"):
        answer_spans(lambda some, ask: "", talk, ())
