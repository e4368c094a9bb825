"""What is said of texts while they are cleaned: spans move with the text, other texts are scrubbed as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.clean import AdmitConf, CleanConf, EvalsetConf
from conf.schema.rules import RulesConf
from tasks.clean.clean import Cleaner, clean_parts
from tasks.clean.evalset import freeze
from tasks.clean.moved_spans import moved
from tasks.clean.split import split
from tasks.formats.documents import PARTS
from tasks.text import targets

LAX = CleanConf(rules=RulesConf(**dict.fromkeys(RulesConf.model_fields)))


def said(documents: Any, *rows: tuple[str, dict[str, Any]]) -> pl.DataFrame:
    frame: pl.DataFrame = documents([text for text, _ in rows])
    return frame.with_columns(targets=pl.Series([targets.write(one) for _, one in rows], dtype=pl.String))


def test_spans_are_of_the_same_words_once_the_text_is_repaired_and_scrubbed(documents: Any) -> None:
    text = "\u00a0Write to bob@x.org or L\u00c3\u00a9vy in  Paris. "
    spans = [[text.index(word), text.index(word) + len(word), label]
             for word, label in (("bob@x.org", "MAIL"), ("L\u00c3\u00a9vy", "PER"), ("Paris", "LOC"))]  # fmt: skip
    kept, _ = Cleaner(LAX).clean(said(documents, (text, {"spans": spans, "target": "Schreib bob@x.org"})))
    now, (found,) = kept["text"][0], [targets.read(one) for one in kept["targets"]]
    assert [(now[begin:end], label) for begin, end, label in found["spans"]] == [
        ("<EMAIL>", "MAIL"), ("L\u00e9vy", "PER"), ("Paris", "LOC"),
    ]  # fmt: skip
    assert found["target"] == "Schreib <EMAIL>"


def test_spans_that_take_too_long_to_move_let_the_document_go(documents: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        while True:
            pass

    monkeypatch.setattr("tasks.clean.clean.moved", never)
    frame = said(documents, ("Write to  bob@x.org ", {"spans": [[0, 5, "X"]]}), ("as it is", {"spans": [[0, 2, "X"]]}))
    kept, dropped = Cleaner(LAX.model_copy(update={"max_seconds": 0.2})).clean(frame)
    assert kept["text"].to_list() == ["as it is"] and dropped["reason"].to_list() == ["too_slow"]


def test_a_text_without_targets_keeps_none(documents: Any) -> None:
    frame = documents(["a b"]).with_columns(targets=pl.lit(None, pl.String))
    assert Cleaner(LAX).clean(frame)[0]["targets"].to_list() == [None]


PIECES = st.lists(st.tuples(st.text("ab \u4e2d", max_size=6), st.sampled_from(["keep", "drop", "replace"])))


@given(PIECES, st.data())
def test_a_span_of_what_stays_is_of_the_same_letters(pieces: list[tuple[str, str]], data: st.DataObject) -> None:
    before = after = ""
    spans, wanted = [], []
    for n, (letters, what) in enumerate(pieces):
        piece = f"<{n}{letters}>" if what == "keep" else "x" * (len(letters) + 1)
        now = {"keep": piece, "drop": "", "replace": "#"}[what]
        if what != "drop" and data.draw(st.booleans()):
            spans.append([len(before), len(before) + len(piece), str(n)])
            wanted.append((now, str(n)))
        before, after = before + piece, after + now
    found = moved(spans, before, after)
    kept = [(now, label) for now, label in wanted if now != "#"]
    assert [(after[begin:end], label) for begin, end, label in found if "<" in after[begin:end]] == kept
    assert {label for *_, label in found} == {label for _, label in wanted} or "drop" in dict(pieces).values()


def test_targets_go_from_the_source_to_each_part_and_the_evaluation_set(documents: Any, tmp_path: Path) -> None:
    numbered = said(documents, *((f"text number {n} of a few", {"number": float(n)}) for n in range(60)))
    numbered.write_parquet(tmp_path / "docs.parquet")
    parts = {part: tmp_path / f"{part}.parquet" for part in PARTS}
    split(tmp_path / "docs.parquet", parts.__getitem__, tmp_path / "rejects.parquet", AdmitConf())
    cleaned = {part: tmp_path / f"clean-{part}.parquet" for part in PARTS}
    clean_parts(parts.__getitem__, cleaned.__getitem__, tmp_path / "more.parquet", LAX)
    documents(["without"]).write_parquet(tmp_path / "other.parquet")
    freeze([tmp_path / "other.parquet", cleaned["test"]], tmp_path / "set.parquet", EvalsetConf())
    for path in (cleaned["train"], tmp_path / "set.parquet"):
        table = pl.read_parquet(path).filter(pl.col("text") != "without")
        rows = table.select("text", "targets").rows()
        assert rows and all(text.split()[2] == str(int(json.loads(one)["number"])) for text, one in rows)
    assert pl.read_parquet(tmp_path / "set.parquet").filter(text="without")["targets"].to_list() == [None]
