"""Human conversations as messages."""

from __future__ import annotations

from pathlib import Path

from tasks.collect.sources.chitchat import turns
from tests.tasks.collect.conftest import Fetched


def test_messages_in_a_row_of_one_sender_make_one_turn() -> None:
    said = [[("a", "Hi"), ("a", " you ")], [("a", "there?")], [("b", "Yes")], [("a", "  "), ("a", "Good")]]
    blocks = [[{"sender": sender, "text": text} for sender, text in block] for block in said]
    assert turns({"messages": blocks}) == [
        {"role": "user", "content": "Hi you there?"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "Good"},
    ]


def test_conversations_alternate_and_unanswered_ones_are_set_aside(tmp_path: Path) -> None:
    fetched = Fetched(tmp_path, kind="chitchat", max_conversations=50)
    assert len(fetched.rows) == 50 == fetched.stats[0]["conversations"]
    for row in fetched.rows:
        roles = [message["role"] for message in row["messages"]]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)] and len(roles) > 1
        assert row["text"] == "\n".join(f"{m['role']}: {m['content']}" for m in row["messages"])
        assert row["licence"] == "MIT" and row["label"] is None
    notes = (fetched.works[0].aux / "unreadable.jsonl").read_text().splitlines()
    assert len(notes) == fetched.stats[0]["unreadable"] > 0
