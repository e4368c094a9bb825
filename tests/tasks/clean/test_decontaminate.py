from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.clean import DecontaminateConf
from tasks.clean.decontaminate import EvalIndex, decontaminate, judge

HELD_OUT = " ".join(f"word{n}" for n in range(40))


def verdicts(folder: Path, documents, evaluation: list[str], texts: list[str], conf: DecontaminateConf) -> pl.DataFrame:
    documents(evaluation, source="held-out").write_parquet(folder / "test.parquet")
    return judge(documents(texts), EvalIndex.build([folder / "test.parquet"], conf), conf)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (HELD_OUT, "28 of 28"),
        (HELD_OUT.upper().replace(" ", ",  "), "28 of 28"),
        ("before " * 30 + HELD_OUT + " after" * 30, "28 of 28"),
        (" ".join(HELD_OUT.split()[:25]), "13 of 13"),
        (" ".join(HELD_OUT.split()[:25]) + " and" * 40, "13 of 26"),
        (" ".join(HELD_OUT.split()[:15]) + " and" * 40, None),
        (" ".join(HELD_OUT.split()[:12]), None),
        (" ".join(reversed(HELD_OUT.split())), None),
        ("", None),
    ],
)
def test_what_shares_enough_ngrams_is_found(tmp_path: Path, documents, text: str, detail: str | None) -> None:
    found = verdicts(tmp_path, documents, ["something else", HELD_OUT], [text], DecontaminateConf())
    expected = detail and f"{documents([HELD_OUT], source='held-out')['id'][0]}: {detail} word 13-grams shared"
    assert found["detail"].to_list() == [expected]
    assert found["reason"].to_list() == ["overlaps_evalset" if detail else None]


def test_a_share_of_zero_drops_at_the_first_common_ngram(tmp_path: Path, documents) -> None:
    text = " ".join(HELD_OUT.split()[5:18]) + " and" * 40
    assert verdicts(tmp_path, documents, [HELD_OUT], [text], DecontaminateConf())["reason"][0] is None
    conf = DecontaminateConf(max_share=0)
    assert verdicts(tmp_path, documents, [HELD_OUT], [text], conf)["reason"][0] == "overlaps_evalset"


def test_short_documents_are_compared_whole(tmp_path: Path, documents) -> None:
    texts = ["Return self!", "return self", "return the self", "x return self", HELD_OUT + " return self"]
    found = verdicts(tmp_path, documents, ["Return self."], texts, DecontaminateConf())
    assert found["reason"].is_not_null().to_list() == [True, True, False, False, False]


def test_a_document_that_is_in_the_evaluation_set_is_dropped_by_its_id(tmp_path: Path, documents) -> None:
    frame = documents(["one", "two"])
    frame[:1].with_columns(pl.lit("quite another text").alias("text")).write_parquet(tmp_path / "test.parquet")
    conf = DecontaminateConf()
    found = judge(frame, EvalIndex.build([tmp_path / "test.parquet"], conf), conf)
    assert found.select("reason", "detail").rows() == [("in_evalset", frame["id"][0]), (None, None)]


def test_the_worst_overlap_is_named_also_when_many_documents_share_a_phrase(tmp_path: Path, documents) -> None:
    phrase = " ".join(f"shared{n}" for n in range(20))
    evaluation = [f"{phrase} " + " ".join(f"own{n}x{m}" for m in range(n)) for n in range(1, 40)]
    found = verdicts(tmp_path, documents, evaluation, [evaluation[20]], DecontaminateConf())
    worst = documents(evaluation, source="held-out")["id"][20]
    assert found["detail"][0].startswith(f"{worst}: ")


WORDS = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


@given(
    evaluation=st.lists(WORDS, max_size=6), texts=st.lists(WORDS, max_size=6), share=st.sampled_from([0.0, 0.3, 0.6])
)
def test_overlaps_are_those_of_the_definition(tmp_path_factory, documents, evaluation, texts, share) -> None:
    conf = DecontaminateConf(ngram=3, max_share=share)
    found = verdicts(tmp_path_factory.mktemp("d"), documents, evaluation, texts, conf)

    def grams(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + 3]) for i in range(max(len(words) - 2, min(len(words), 1)))}

    def overlaps(text: str) -> bool:
        pairs = [(grams(text), grams(other)) for other in evaluation]
        return any(len(a & b) > share * min(len(a), len(b)) for a, b in pairs)

    assert found["reason"].is_not_null().to_list() == [overlaps(text) for text in texts]


def test_train_and_valid_are_written_without_what_overlaps(tmp_path: Path, documents, docstrings) -> None:
    documents(docstrings[:5]).write_parquet(tmp_path / "test.parquet")
    for part, texts in {"train": docstrings[3:50], "valid": ["x " + docstrings[0], docstrings[60]]}.items():
        (tmp_path / part).mkdir()
        documents(texts).write_parquet(tmp_path / part / "docs.parquet")
    stats = decontaminate(
        lambda part: tmp_path / part / "docs.parquet",
        [tmp_path / "test.parquet"],
        lambda part: tmp_path / "out" / part / "docs.parquet",
        tmp_path / "rejects.parquet",
        DecontaminateConf(),
    )
    assert stats["parts"]["train"]["reasons"]["in_evalset"] == 2
    assert stats["parts"]["valid"]["reasons"] == {"overlaps_evalset": 1}
    assert pl.read_parquet(tmp_path / "out/valid/docs.parquet")["text"].to_list() == [docstrings[60]]
    train = pl.read_parquet(tmp_path / "out/train/docs.parquet")
    rejects = pl.read_parquet(tmp_path / "rejects.parquet")
    assert train.height + (rejects["part"] == "train").sum() == 47
    assert not set(train["text"]) & set(docstrings[:5])
