from __future__ import annotations

from tasks.clean.admit import Admission, without_text


def test_what_was_taken_down_is_dropped_whatever_its_licence_and_its_text_is_not_kept(documents) -> None:
    batch = documents(["one", "two", "three"])
    judged = Admission(["BSD"], [batch["id"][1]]).judge(batch)
    assert judged["reason"].to_list() == ["licence", "takedown", "licence"]
    assert without_text(judged)["text"].to_list() == ["one", "", "three"]


def test_a_document_without_a_licence_is_unknown() -> None:
    import polars as pl

    batch = pl.DataFrame({"id": ["a", "b"], "text": ["a", "b"], "licence": [None, "MIT"]})
    admission = Admission(["MIT", "unknown"])
    assert admission.judge(batch)["reason"].to_list() == [None, None]
    assert admission.stats() == {"licences": {"MIT": 1, "unknown": 1}}
    assert Admission(["MIT"]).judge(batch)["detail"].to_list() == ["unknown", None]
    assert Admission(None).judge(batch)["reason"].null_count() == 2


def test_a_shard_that_validation_set_aside_is_left_out_whole_and_what_was_taken_down_keeps_no_text(documents) -> None:
    batch = documents(["one", "two", "three"])
    judged = Admission(["BSD"], [batch["id"][1]], ["rows: 0", "text: 3"]).judge(batch)
    assert judged["reason"].to_list() == ["quarantine", "takedown", "quarantine"]
    assert judged["detail"][0] == "rows: 0; text: 3" and without_text(judged)["text"].to_list() == ["one", "", "three"]
