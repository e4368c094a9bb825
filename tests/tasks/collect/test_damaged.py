"""Files of every kind with damage anywhere: a documented error or rows set aside, never a crash or another row."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import ConfigError, DataError
from tests.tasks.collect.conftest import Fetched
from tests.tasks.collect.test_files import PACKED, PAGE, TEXTS


def _table(form: str) -> bytes:
    frame, out = pl.DataFrame({"n": [1, 2, 3], "text": TEXTS}), io.BytesIO()
    {
        "parquet": frame.write_parquet,
        "arrow": frame.write_ipc_stream,
        "feather": frame.write_ipc,
        "csv": frame.write_csv,
    }[form](out)
    return out.getvalue()


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.jsonl", json.dumps({"text": TEXTS[0]}))
    return out.getvalue()


LINES = "\n".join(json.dumps({"text": text}) for text in TEXTS).encode()
WHOLE = {
    "jsonl": LINES,
    "html": PAGE.encode(),
    "zip": _zip(),
    **{form: _table(form) for form in ("parquet", "arrow", "feather", "csv")},
    **{f"jsonl{ending}": pack(LINES * 20) for ending, pack in PACKED.items()},
    "jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress(LINES * 20),
}


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes with a piece overwritten, cut out, or put in anywhere."""
    at = draw(st.integers(0, len(raw)))
    piece = draw(st.binary(max_size=8))
    gone = draw(st.one_of(st.just(len(piece)), st.integers(0, len(raw) - at)))
    return raw[:at] + piece + raw[at + gone :]


@pytest.mark.parametrize("form", sorted(WHOLE))
@settings(max_examples=25)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_words(form: str, data: st.DataObject) -> None:
    content = data.draw(damaged(WHOLE[form]))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"a.{form}").write_bytes(content)
        try:
            fetched = Fetched(Path(folder), kind="files", paths=[f"{folder}/a.{form}"], max_bad_rows=100)
        except (DataError, ConfigError) as refused:
            assert f"a.{form}" in str(refused)
            return
        assert all(row["text"].strip() for row in fetched.rows)
        if "." in form:  # what is packed carries a checksum: no damage may pass as another row
            assert set(fetched.texts) <= set(TEXTS)
