from pathlib import Path

import polars as pl

from conf.schema.clean import CleanConf
from conf.schema.language import LanguageConf
from conf.schema.rules import RulesConf
from tasks.clean.clean import REPEATED, Cleaner, clean_parts
from tasks.formats.documents import DOCUMENTS, LANGUAGE, PARTS

OFF = RulesConf(**dict.fromkeys(RulesConf.model_fields))
LAX = CleanConf(rules=OFF)


def talk(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]


def test_a_document_is_repaired_scrubbed_and_keeps_its_other_columns(documents) -> None:
    frame = documents(["Mail  me: l\u00c3\u00a9vy  at a@b.org  \n\n"], label="numpy")
    kept, dropped = Cleaner(LAX).clean(frame)
    assert kept["text"][0] == "Mail  me: l\u00e9vy  at <EMAIL>"
    assert kept.drop("text").equals(frame.drop("text"))
    assert kept.columns == DOCUMENTS.names() and dropped.is_empty()


def test_a_conversation_is_cleaned_message_by_message_and_joined_again(documents) -> None:
    messages = talk("Hi\u00a0there, I am a@b.org ", "caf\u00e9\u0301?\r\nNo.", "   ", "bye")
    kept, _ = Cleaner(LAX).clean(documents(["ignored"], messages=[messages]))
    assert kept["messages"].to_list() == [
        [
            {"role": "user", "content": "Hi there, I am <EMAIL>"},
            {"role": "assistant", "content": "caf\u00e9\u0301?\nNo."},
            {"role": "assistant", "content": "bye"},
        ]
    ]
    assert kept["text"][0] == "user: Hi there, I am <EMAIL>\nassistant: caf\u00e9\u0301?\nNo.\nassistant: bye"


def test_conversations_and_texts_in_one_batch_keep_their_order(documents) -> None:
    frame = documents(["first", "x", "third", "y"], messages=[None, talk("a", "b"), None, talk("c", "d")])
    kept, _ = Cleaner(LAX).clean(frame)
    assert kept["id"].to_list() == frame["id"].to_list()
    assert kept["text"].to_list() == ["first", "user: a\nassistant: b", "third", "user: c\nassistant: d"]
    assert kept["messages"].is_null().to_list() == [True, False, True, False]


def test_a_conversation_without_words_is_dropped_not_lost(documents) -> None:
    frame = documents(["a", "b"], messages=[[], talk(" ", "\u200b")])
    kept, dropped = Cleaner(CleanConf(rules=OFF.model_copy(update={"min_messages": 1}))).clean(frame)
    assert kept.is_empty()
    assert dropped.select("reason", "detail").rows() == [("min_messages", "0 < 1")] * 2


def test_rejects_hold_the_whole_original_text(documents) -> None:
    texts = ["Short \u00c3\u00a9 a@b.org.", "A longer text that has the words to pass every rule of the house."]
    kept, dropped = Cleaner(CleanConf()).clean(documents(texts))
    assert dropped.select("text", "reason", "detail").rows() == [(texts[0], "min_words", "3 < 8")]
    assert kept["text"].to_list() == texts[1:]


def test_an_id_that_came_before_is_dropped_also_in_a_later_batch(documents) -> None:
    cleaner = Cleaner(LAX)
    frame = documents(["one", "two", "one"])
    kept, dropped = cleaner.clean(frame)
    assert kept["text"].to_list() == ["one", "two"] and dropped["reason"].to_list() == [REPEATED]
    assert cleaner.clean(frame[:1])[0].is_empty()


def test_a_source_may_have_rules_of_its_own(documents) -> None:
    conf = CleanConf(rules_by_source={"chat": OFF})
    frame = pl.concat([documents(["too short"]), documents(["too short"], source="chat"), documents(["so is this"])])
    kept, dropped = Cleaner(conf).clean(frame)
    assert kept["source"].to_list() == ["chat"]
    assert dropped["text"].to_list() == ["too short", "so is this"]


def test_a_language_may_have_rules_of_its_own_and_a_source_goes_before_it(documents) -> None:
    conf = CleanConf(
        rules=OFF,
        language=LanguageConf(),
        rules_by_language={"zh": OFF.model_copy(update={"min_words": 20}), "ru": RulesConf(min_words=9)},
        rules_by_source={"chat": OFF},
    )
    zh, longer, ru, en = (
        "我们走到河边。",
        "我们走到河边，看了很久的冰，水流得很慢，岸上很安静。",
        "Мы вышли к реке.",
        "We went.",
    )
    frame = pl.concat([documents([zh, longer, ru, en]), documents([zh], source="chat")])
    kept, dropped = Cleaner(conf).clean(frame)
    assert kept.select("text", "source").rows() == [(longer, "docs"), (en, "docs"), (zh, "chat")]
    assert dropped.select("text", "detail").rows() == [(zh, "6 < 20"), (ru, "4 < 9")]


def test_lines_are_taken_out_before_judging_and_by_the_rules_of_the_source(documents) -> None:
    conf = CleanConf(rules=OFF, rules_by_source={"web": RulesConf(published=("c4",), min_sentences=2)})
    text = "Home\nThis is the first line.\nAnd this is the other.\n{menu}"
    short = "This line alone is left.\nMenu"
    frame = pl.concat([documents([text]), documents([text, short], source="web")])
    cleaner = Cleaner(conf)
    kept, dropped = cleaner.clean(frame)
    assert kept["text"].to_list() == [text, "This is the first line.\nAnd this is the other."]
    assert dropped.select("text", "reason").rows() == [(short, "min_sentences")]
    assert cleaner.lines == {"terminal_punctuation": 3}


def test_lines_of_a_conversation_are_taken_out_message_by_message(documents) -> None:
    rules = OFF.model_copy(update={"lines": RulesConf(published=("c4",)).lines, "min_messages": 1})
    messages = talk("Where do I click?\nMenu", "Home", "Never mind it then.")
    kept, _ = Cleaner(CleanConf(rules=rules)).clean(documents(["x", "y"], messages=[messages, []]))
    assert kept["text"].to_list() == ["user: Where do I click?\nuser: Never mind it then."]


def test_documents_get_their_language_and_those_of_others_go(documents) -> None:
    texts = ["The cat sat on the mat and looked at us.", "Die Katze sitzt auf der Matte und schaut.", "17 + 4"]
    kept, dropped = Cleaner(CleanConf(rules=OFF, language=LanguageConf(keep=("en",)))).clean(documents(texts))
    assert kept.columns == [*DOCUMENTS.names(), *LANGUAGE.names()]
    assert kept.select("text", "lang").rows() == [(texts[0], "en")]
    assert dropped["reason"].to_list() == ["language"] * 2
    assert dropped["detail"][0].startswith("de (") and dropped["detail"][1] == "und (0.0)"


def test_a_language_is_told_without_the_names_of_roles_and_before_the_rules(documents) -> None:
    talks = [talk("Wo ist der Bahnhof?", "Gleich um die Ecke, neben der Post."), None, None]
    frame = documents(["x", "Bonjour tout le monde", "What is it about?"], messages=talks)
    conf = CleanConf(language=LanguageConf(keep=("de", "en")))
    kept, dropped = Cleaner(conf).clean(frame)
    assert kept["lang"].to_list() == ["de"]
    assert dropped["reason"].to_list() == ["language", "min_words"]


def test_cleaning_does_not_depend_on_the_size_of_batches(documents, docstrings) -> None:
    conf = CleanConf(
        rules=RulesConf(published=("gopher", "c4", "fineweb"), lines={"terminal_punctuation": False}, min_words=20),
        rules_by_source={"chat": OFF},
        language=LanguageConf(keep=("en",), min_confidence=0.5),
    )
    frame = pl.concat([documents(docstrings[:150]), documents(docstrings[100:200], source="chat")])
    wholly, slowly = Cleaner(conf), Cleaner(conf)
    whole = wholly.clean(frame)
    parts = [slowly.clean(part) for part in frame.iter_slices(17)]
    assert whole[0].equals(pl.concat([kept for kept, _ in parts])) and 0 < whole[0].height < frame.height
    assert whole[1].equals(pl.concat([dropped for _, dropped in parts]))
    assert wholly.lines == slowly.lines and wholly.lines["banned_phrases"] + wholly.lines["min_words"] > 0


def test_the_statistics_account_for_every_document(tmp_path: Path, documents, docstrings) -> None:
    texts = {"train": [*docstrings[:200], "no", docstrings[0], "mail a@b.org " * 10], "valid": ["no"], "test": []}
    for part, these in texts.items():
        (tmp_path / part).mkdir()
        documents(these).write_parquet(tmp_path / part / "docs.parquet")
    stats = clean_parts(
        lambda part: tmp_path / part / "docs.parquet",
        lambda part: tmp_path / "out" / part / "docs.parquet",
        tmp_path / "rejects.parquet",
        CleanConf(),
    )
    rejects = pl.read_parquet(tmp_path / "rejects.parquet")
    for part in PARTS:
        counts = stats["parts"][part]
        out = pl.read_parquet(tmp_path / "out" / part / "docs.parquet")
        gone = rejects.filter(pl.col("part") == part)
        assert counts["documents_in"] == len(texts[part]) == counts["documents_out"] + gone.height
        assert counts["documents_out"] == out.height
        assert counts["reasons"] == dict(gone["reason"].value_counts().iter_rows())
        assert counts["bytes_in"] == sum(len(text.encode()) for text in texts[part])
        assert counts["bytes_out"] == sum(len(text.encode()) for text in out["text"])
    assert stats["parts"]["train"]["reasons"] == {"min_words": 1, REPEATED: 1, **_others(stats)}
    assert stats["placeholders"]["email"] >= 10 and stats["repaired"] == 0
    assert stats["lines_removed"] == {}


def _others(stats: dict) -> dict[str, int]:
    reasons = stats["parts"]["train"]["reasons"]
    return {name: count for name, count in reasons.items() if name not in ("min_words", REPEATED)}
