"""Names replaced by placeholders, by the real Presidio and spaCy and a small model of rules."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.schema.clean import CleanConf, NamesConf
from conf.schema.rules import RulesConf
from tasks.clean import names
from tasks.clean.clean import Cleaner, clean_parts
from tasks.clean.names import scrub_names
from tasks.formats.documents import PARTS

OFF = RulesConf(**dict.fromkeys(RulesConf.model_fields))


@pytest.fixture
def conf(names_model: Path) -> NamesConf:
    return NamesConf(model=str(names_model))


def scrubbed(conf: NamesConf, *texts: str | None) -> list[str | None]:
    return scrub_names(pl.Series("text", texts, dtype=pl.String), conf)[0].to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada Lovelace met Bob in London.", "<PERSON> met <PERSON> in <PLACE>."),
        ("Ada Lovelace's notes; London, the Thames", "<PERSON>'s notes; <PLACE>, the <PLACE>"),
        ("On 12 May Acme paid.", "On 12 May Acme paid."),
        ("Ada\nLovelace, Bob", "<PERSON>\n<PERSON>, <PERSON>"),
        ("to Bob <EMAIL> and <PERSON>", "to <PERSON> <EMAIL> and <PERSON>"),
        ("Ada <EMAIL> Lovelace", "<PERSON> <EMAIL> <PERSON>"),
        ("<EMAIL> Lovelace", "<EMAIL> <PERSON>"),
        ("", ""),
        (" \n ", " \n "),
        (None, None),
    ],
)
def test_names_become_placeholders_and_all_else_stays(conf: NamesConf, text: str | None, expected: str | None) -> None:
    assert scrubbed(conf, text) == [expected]


def test_only_the_kinds_that_are_asked_for_are_replaced_and_counted(conf: NamesConf) -> None:
    texts = pl.Series(["Bob in London", "Bob and Bob", None])
    found, counts = scrub_names(texts, conf.model_copy(update={"kinds": ("person",)}))
    assert found.to_list() == ["<PERSON> in London", "<PERSON> and <PERSON>", None] and counts == {"person": 3}
    assert scrub_names(texts.clear(), conf)[1] == {"person": 0, "place": 0}


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(st.sampled_from(["Bob", "in", "London", "\n", "x" * 30, " "]), max_size=30), size=st.integers(8, 60)
)
def test_a_text_that_is_cut_keeps_every_character(words: list[str], size: int) -> None:
    text, longest = " ".join(words), names.LONGEST
    names.LONGEST = size
    try:
        parts = list(names._cut(text))
    finally:
        names.LONGEST = longest
    assert "".join(parts) == text and all(0 < len(part) <= size for part in parts)


def test_long_texts_and_batches_give_what_short_ones_give(conf: NamesConf, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"Bob number {n} went to London\nand to Ada Lovelace. " * (1 + n % 3) for n in range(40)]
    whole = scrubbed(conf, *texts)
    monkeypatch.setattr(names, "LONGEST", 60)
    monkeypatch.setattr(names, "BATCH", 3)
    assert scrubbed(conf, *texts) == whole
    assert whole[0] == "<PERSON> number 0 went to <PLACE>\nand to <PERSON>. "


def test_nothing_of_the_pipeline_runs_that_names_do_without(conf: NamesConf) -> None:
    analyzer, language = names._analyzer(conf.model)
    assert language == "en"
    assert analyzer.analyzer_engine.nlp_engine.nlp["en"].pipe_names == ["entity_ruler"]


def test_documents_and_messages_are_scrubbed_after_other_personal_data(documents, conf: NamesConf) -> None:
    talk = [{"role": "user", "content": "I am Bob"}, {"role": "assistant", "content": "Hi Bob, bob@london.org?"}]
    frame = documents(["Write to Bob (Bob@x.org)", "x"], messages=[None, talk])
    kept, _ = Cleaner(CleanConf(rules=OFF, names=conf)).clean(frame)
    assert kept["text"].to_list() == [
        "Write to <PERSON> (<EMAIL>)",
        "user: I am <PERSON>\nassistant: Hi <PERSON>, <EMAIL>?",
    ]


def test_a_shards_statistics_count_names_beside_other_placeholders(documents, publish, tmp_path, conf) -> None:
    docs = publish({f"{part}/docs.parquet": documents([f"Bob of {part}", "Bob in London"]) for part in PARTS})
    for part in PARTS:
        (tmp_path / part).mkdir()
    stats = clean_parts(
        lambda part: docs / f"{part}/docs.parquet",
        lambda part: tmp_path / part / "docs.parquet",
        tmp_path / "rejects.parquet",
        CleanConf(rules=OFF, names=conf, pii=("email",)),
    )
    assert stats["placeholders"] == {"email": 0, "person": 2 * len(PARTS), "place": len(PARTS)}
