"""A conversation over a pipe."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from flows.cli.chat import talk


def test_bytes_that_are_no_utf8_are_said_with_a_replacement_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é\n".encode("latin-1") + b"two\n"), "utf-8"))
    talk(SimpleNamespace(answer=lambda line, on_text, stopped: said.append(line) or ""))
    assert said == ["\ufffd", "two"]
