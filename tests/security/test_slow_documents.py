"""A document that takes too long or is too large is set aside, counted and said; the others go on."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from conf.schema.clean import CleanConf
from tasks.clean import pii
from tasks.clean.clean import Cleaner
from tasks.collect import web
from tasks.collect.apart import Apart, TooSlow
from tests.tasks.clean.conftest import make_documents
from tests.tasks.collect.conftest import Fetched

PLAIN = "The river was high in spring, and the boats lay still along the eastern bank until the rain had gone."


def endless(text: str) -> str:
    """Does not come back from inside of a library for some texts."""
    return str(re.fullmatch("(a+)+b", text)) if text.startswith("a") else text.upper()


def test_what_does_not_come_back_is_ended_and_the_next_call_works() -> None:
    apart = Apart(endless)
    assert apart("b", 1) == "B"
    with pytest.raises(TooSlow, match=r"more than 0\.2 s"):
        apart("a" * 60, 0.2)
    assert apart("c", 1) == "C"
    apart.close()


def test_an_error_in_there_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        Apart(lambda text: str(1 // len(text)))("", 1)


def test_it_keeps_nothing_open_that_its_parent_had() -> None:
    reading, writing = os.pipe()
    apart = Apart(str.upper)
    assert apart("a", 1) == "A"
    os.close(writing)
    os.set_blocking(reading, False)
    assert os.read(reading, 1) == b"", "nobody else holds the other end"
    os.close(reading)
    assert apart("b", 1) == "B"
    apart.close()


def test_a_page_beyond_the_limits_is_set_aside_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in {"a": PLAIN, "b": "aaaa" * 20, "c": PLAIN * 30}.items():
        (tmp_path / f"{name}.html").write_text(text)
    monkeypatch.setattr(web, "_extract", endless)
    found = Fetched(
        tmp_path / "fetched", kind="files", paths=[f"{tmp_path}/*.html"], max_page_seconds=0.2, max_page_mb=0.002
    )
    assert found.texts == [PLAIN.upper()]
    assert {name: found.stats[0][name] for name in ("too_slow", "too_large", "unreadable")} == {
        "too_slow": 1, "too_large": 1, "unreadable": 0,
    }  # fmt: skip
    notes = (found.works[0].aux / "unreadable.jsonl").read_text()
    assert "b.html" in notes and "more than 0.2 s of a processor" in notes and "c.html" in notes
    assert "data.sources.own.max_page_seconds" in capsys.readouterr().out


def test_a_document_that_cleaning_takes_too_long_over_is_dropped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = replace(pii.KINDS["email"], pattern=re.compile("(a+)+@b"))
    monkeypatch.setitem(pii.KINDS, "email", slow)
    batch = make_documents([PLAIN, f"x@b.org {'a' * 60}", PLAIN * 100])
    kept, dropped = Cleaner(CleanConf(max_seconds=0.2, max_characters=5_000)).clean(batch)
    assert kept["text"].to_list() == [PLAIN]
    assert dict(dropped.select("reason", "detail").iter_rows()) == {
        "too_slow": "took more than 0.2 s of a processor",
        "too_long": f"{len(PLAIN) * 100} characters > 5000",
    }
