"""JSON files: values of any form and size come whole, and what is damaged is named."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.collect import text_formats
from tasks.core.errors import DataError


def read(raw: bytes, limit: int = 1_000_000) -> list[text_formats.Row]:
    return list(text_formats.json_values(io.BufferedReader(io.BytesIO(raw)), "a.json", "utf-8", limit))  # type: ignore[arg-type]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
FORMS: list[Callable[[list[Any]], str]] = [
    json.dumps,
    lambda rows: json.dumps(rows, indent=1, ensure_ascii=False),
    lambda rows: "\n".join(map(json.dumps, rows)),
    lambda rows: "".join(json.dumps(row, indent=2) for row in rows) + "\n\n",
]


@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), max_size=5), st.integers(1, 40))
def test_objects_are_read_however_they_are_laid_out_and_wherever_reading_pauses(
    rows: list[dict[str, Any]], chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_formats, "CHUNK", chunk)
        for form in FORMS:
            found = read(form(rows).encode())
            assert [row.values for row in found] == rows
            assert [row.position for row in found] == [f"row {n}" for n in range(1, len(rows) + 1)]


def test_texts_of_a_list_are_rows_and_other_values_come_with_a_reason() -> None:
    found = read(b'["a", 12, {"text": "b"}, null]')
    assert [row.values for row in found] == [{"text": "a"}, None, {"text": "b"}, None]
    assert "".join(row.reason for row in found) == "holds a number, not a JSON objectholds null, not a JSON object"
    assert read(b'"alone"')[0].values is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'[{"text": "a"}, {"text": ', "row 2: is no JSON"),
        (b'[{"text": "a"}', "after row 1: its list is cut off"),
        (b"[", "after row 0: its list is cut off"),
        (b'[{"text": "a"} {"text": "b"}]', "after row 1: its list is cut off or damaged"),
        (b'[{"text": "a"}] {"text": "b"}', "after row 1: something follows its list"),
        (b'{"text": "a"}\n{text: "b"}' + b" " * 99, "row 2: is no JSON: Expecting property name"),
        (b'{"text": "' + b"a" * 2_000_000 + b'"}', "row 1: holds a text of more than 1 MB"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"text": "\xe9"}', "is not valid utf-8"),
        ('{"text": "a"}'.encode("utf-16"), "encoding: utf-16"),
    ],
)
def test_what_is_no_json_is_refused_with_its_row(raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.json.*{message}"):
        read(raw)
