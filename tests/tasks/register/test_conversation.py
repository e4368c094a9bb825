"""Talking with a registered chat model."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf.schema.release import RegisterConf
from tasks.core.artifact import Artifact
from tasks.core.errors import ConfigError
from tasks.core.workdir import Workdir
from tasks.register.conversation import Conversation
from tasks.register.generate import generate
from tasks.register.steps import register_model
from tests.tasks.register.conftest import FakeStore, Publish


@pytest.fixture
def registered(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, tiny_classifier: Path, publish: Publish,
    evaluation: Artifact,
) -> str:  # fmt: skip
    """A model of each kind."""
    for kind, folder in (("base", tiny), ("chat", tiny), ("classifier", tiny_classifier)):
        model = publish(f"make_{kind}", "model", folder)
        register_model.function(model, evaluation, conf=RegisterConf(name=f"tiny-{kind}", kind=kind), work=work)
    return uri


def ask(talk: Conversation, said: str, stop_after: int = 1000) -> tuple[str, str]:
    """The answer, and what was streamed of it."""
    pieces: list[str] = []
    left = iter(range(stop_after))
    return talk.answer(said, pieces.append, lambda: next(left, None) is None), "".join(pieces)


def test_an_answer_streams_and_belongs_to_the_conversation(registered: str) -> None:
    talk = Conversation(registered, "tiny-chat@1", 12, 5.0, 0)
    answer, streamed = ask(talk, "say array")
    assert answer == streamed != ""
    assert talk.turns == [{"role": "user", "content": "say array"}, {"role": "assistant", "content": answer}]
    assert answer == generate(registered, "tiny-chat@1", "say array", 12, 5.0, 1), (
        "the first turn is asked as a prompt is"
    )
    later, _ = ask(talk, "say array")
    talk.reset()
    assert talk.turns == []
    assert ask(talk, "say array")[0] == answer
    assert len(talk.turns) == 2 and isinstance(later, str)


def test_an_answer_stops_when_asked_and_what_was_said_stays(registered: str) -> None:
    talk = Conversation(registered, "tiny-chat@1", 40, 5.0, 0)
    whole, _ = ask(talk, "say array")
    talk.reset()
    part, _ = ask(talk, "say array", stop_after=3)
    assert whole.startswith(part) and len(part) < len(whole)
    assert talk.turns[-1]["content"] == part


def test_the_oldest_turns_leave_when_the_context_is_full(registered: str) -> None:
    talk = Conversation(registered, "tiny-chat@1", 4, 0.0, 0)
    for n in range(30):
        ask(talk, f"say array number {n} " + "axis " * 20)
    assert len(talk.turns) == 60
    assert isinstance(ask(talk, "axis " * 5000)[0], str)


def test_a_model_that_does_not_chat_is_refused_with_the_ones_that_do(registered: str) -> None:
    with pytest.raises(
        ConfigError, match=r"a language model and holds no conversation.*fromzero generate.*chat models: tiny-chat"
    ):
        Conversation(registered, "tiny-base@1", 4, 0.0, 0)
    with pytest.raises(ConfigError, match=r"is a classifier and holds no conversation; `fromzero predict"):
        Conversation(registered, "tiny-classifier@1", 4, 0.0, 0)
    with pytest.raises(ConfigError, match="temperature"):
        Conversation(registered, "tiny-chat@1", 4, -1.0, 0)
