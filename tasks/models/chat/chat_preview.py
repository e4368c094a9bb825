"""What fine-tuning will cut or leave out of conversations, as far as a plan can tell: without template and torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.core.number_format import count, plural, share
from tasks.core.run_warnings import warning
from tasks.finetune.preview import MOST, WARN
from tasks.models.chat import windows
from tasks.models.chat.chat_options import ChatConf
from tasks.text.encode import Encoder


def chat(
    docs: Sequence[Path], tokenizer: Path, context: int | None, conf: ChatConf
) -> tuple[str, list[dict[str, str]]]:
    """What of the conversations will be split, cut or left out, in words, and a warning of each share over
    `WARN`; `context`: tokens that the model looks at, None if that is not known."""
    taken = windows.conversations(docs, conf.max_conversations)
    if not taken.found:
        return "there is no conversation to train on", []
    options = f"models.{conf.run.model}.train"
    besides = [
        (taken.without_answer, "without an answer", "roles of the source"),
        (taken.beyond, f"beyond {options}.max_conversations", f"{options}.max_conversations"),
    ]
    said = [f"{plural(number, 'conversation')} {why} left out" for number, why, _ in besides if number]
    warnings = [
        warning(f"{share(number, taken.found)} of {plural(taken.found, 'conversation')} are {why} and left out", option)
        for number, why, option in besides[:1]
        if number > WARN * taken.found
    ]
    if taken.table.is_empty():
        return "; ".join(said), warnings
    looked = taken.table["messages"].head(MOST).to_list()
    encoder = Encoder.of_file(tokenizer)
    sizes = iter([len(ids) + 1 for ids in encoder.texts([turn["content"] for talk in looked for turn in talk])])
    talks = [[(turn["role"], next(sizes)) for turn in talk] for talk in looked]
    whole = [sum(size for _, size in talk) for talk in talks]
    length = conf.max_length if isinstance(conf.max_length, int) else min(max(whole), context or max(whole))
    answers = [
        (size, sum(before for _, before in talk[n - 1 : n]))
        for talk in talks
        for n, (role, size) in enumerate(talk)
        if role == windows.ASSISTANT
    ]
    written = sum(size for size, _ in answers)
    lost = sum(size - windows.kept_of(length, before) for size, before in answers if size > length)
    cut, long = sum(size > length for size, _ in answers), sum(size > length for size in whole)
    of = "" if taken.table.height <= MOST else f" (of {count(MOST)} looked at)"
    said.insert(
        0,
        f"about {share(written - lost, written)} of the answers' tokens will carry a loss{of}: of "
        f"{plural(len(talks), 'conversation')} {count(long)} longer than {count(length)} tokens are split at turns, "
        f"{count(cut)} longer answers cut",
    )
    if lost > WARN * written:
        what = f"about {share(lost, written)} of the answers' tokens will carry no loss: {count(cut)} answers are "
        warnings.append(warning(f"{what}longer than an example", f"{options}.max_length={length}"))
    return "; ".join(said), warnings
