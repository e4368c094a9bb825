"""Who speaks in a conversation: one name for each role, whatever the tool that wrote it calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter", "customer"),
    "assistant": (
        "assistant", "gpt", "bot", "model", "ai", "chatbot", "chatgpt", "agent", "claude", "bard", "bing",
    ),
    "tool": ("tool", "function", "observation", "ipython", "function_response", "tool_response", "tool_result"),
}  # fmt: skip
"""The roles, and the names that OpenAI, ShareGPT, OpenAssistant, Llama, Gemma, LLaMA-Factory and the like give them."""
ROLES = {name: role for role, names in NAMES.items() for name in names}
COLUMNS = (("role", "content"), ("from", "value"))
"""Who speaks and what is said: in OpenAI's messages, and in ShareGPT's conversations."""


def role(name: str, more: Mapping[str, str]) -> str:
    """The role that a name means, case and white space aside; `more` are names that are known beside the usual ones.

    Raises `ValueError` for a name that is not known: what is left out in silence is missed much later.
    """
    plain = name.strip().lower()
    found = {known.strip().lower(): meant for known, meant in more.items()}.get(plain, ROLES.get(plain))
    if found is None:
        raise ValueError(f"has the role {name!r}, which is not known ({', '.join(NAMES)} are, and names for them)")
    return found


def turn(message: Any) -> tuple[str, str] | None:
    """(the name of who speaks, what is said) of one message; None for what is none."""
    if isinstance(message, Mapping):
        for who, what in COLUMNS:
            said = _joined(message.get(what))
            if isinstance(message.get(who), str) and said is not None:
                return message[who], said
    return None


def _joined(said: Any) -> str | None:
    """A text, or the texts of OpenAI's parts of one; None for what is none, or has other parts."""
    if isinstance(said, list) and said and all(isinstance(part, Mapping) for part in said):
        texts = [part.get("text") if part.get("type", "text") in ("text", "input_text", "output_text") else None
                 for part in said]  # fmt: skip
        return "".join(text for text in texts if text) if all(isinstance(text, str) for text in texts) else None
    return said if isinstance(said, str) else None


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of messages, one at least."""
    return isinstance(value, list) and bool(value) and all(turn(one) for one in value)
