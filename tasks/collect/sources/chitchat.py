"""The human conversations of the chitchat-dataset distribution."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from conf.schema.source import Source
from tasks.collect import distributions
from tasks.collect.document_writer import Documents
from tasks.collect.rows import as_text
from tasks.core.errors import DataError

DISTRIBUTION = "chitchat-dataset"
_FILE = "chitchat_dataset/dataset.json"


class ChitchatSource(Source):
    """The human conversations of the chitchat-dataset distribution."""

    kind: Literal["chitchat"]
    """Always chitchat."""
    max_conversations: int | None = Field(None, ge=1)
    """How many conversations between two people to take, in order; None for all."""


OPTIONS, PLACE, LIBRARIES = ChitchatSource, "kind", ("pyarrow",)


def entries(source: str, conf: ChitchatSource, known: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The one entry: the distribution's data file; raises `DataError` if it is not installed."""
    installed = distributions.find(DISTRIBUTION)
    record = installed.read_text("RECORD") or ""
    for line in record.splitlines():
        if line.startswith(f"{_FILE},"):
            _, digest, size = line.rsplit(",", 2)
            stamp = f"{installed.version}+{digest.removeprefix('sha256=')[:16]}"
            return [{"uri": DISTRIBUTION, "name": DISTRIBUTION, "size": int(size), "stamp": stamp}]
    raise DataError(
        f"{DISTRIBUTION} {installed.version} has no {_FILE}: `pip install --force-reinstall {DISTRIBUTION}`"
    )


def read(held: Sequence[dict[str, Any]], conf: ChitchatSource, documents: Documents, scratch: Path) -> None:
    """Add the conversations between two people, in the file's order; those that nobody answered are set aside."""
    installed = distributions.find(DISTRIBUTION)
    licence = distributions.licence_of(installed)
    talks = json.loads(Path(str(installed.locate_file(_FILE))).read_bytes())
    taken = 0
    for name, conversation in talks.items():
        if taken == conf.max_conversations:
            break
        messages = turns(conversation)
        uri = f"{_FILE}#{name}"
        if len(messages) < 2:
            documents.set_aside(_FILE, name, "nobody answered: one speaker only")
            continue
        documents.add(as_text(messages), uri, licence, messages=messages)
        taken += 1


def turns(conversation: dict[str, Any]) -> list[dict[str, str]]:
    """The turns as messages: who speaks first is the user, the other the assistant.

    Messages in a row of one sender make one turn, joined by a space, as the distribution's own readers do.
    """
    said = [message for block in conversation["messages"] for message in block if message["text"].strip()]
    first = said[0]["sender"] if said else ""
    return [
        {
            "role": "user" if sender == first else "assistant",
            "content": " ".join(message["text"].strip() for message in messages),
        }
        for sender, messages in groupby(said, key=lambda message: message["sender"])
    ]
