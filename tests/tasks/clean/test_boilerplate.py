import random
from pathlib import Path

import polars as pl
import pytest

from conf.schema.clean import DecontaminateConf
from tasks.clean.boilerplate import count, find
from tasks.clean.decontaminate import decontaminate

CONF = DecontaminateConf()


def prose(seed: str, words: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(10_000)}" for _ in range(words))


def han(seed: str, letters: int = 80) -> str:
    draw = random.Random(seed)
    return "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(letters))


class Corpus:
    """Shards of training texts and one evaluation set, in a folder."""

    def __init__(self, folder: Path, documents, evaluation: list[str], shards: dict[str, list[str]]) -> None:
        self.folder, self.shards = folder, shards
        folder.mkdir(exist_ok=True)
        documents(evaluation, source="held-out").write_parquet(folder / "test.parquet")
        for shard, texts in shards.items():
            for part, some in (("train", texts), ("valid", [])):
                (folder / shard / part).mkdir(parents=True)
                documents(some).write_parquet(folder / shard / part / "docs.parquet")

    def common(self, conf: DecontaminateConf) -> dict[str, list[int]]:
        """The boilerplate that concerns each shard."""
        evalsets = [self.folder / "test.parquet"]
        for shard in self.shards:
            out = self.folder / shard / "counts.parquet"
            count(lambda part, shard=shard: self.folder / shard / part / "docs.parquet", evalsets, out, conf)
        counts = {shard: self.folder / shard / "counts.parquet" for shard in self.shards}
        find(counts, evalsets, self.folder.__truediv__, conf)
        return {shard: pl.read_parquet(self.folder / shard / "common.parquet")["gram"].to_list() for shard in counts}

    def left(self, conf: DecontaminateConf = CONF) -> tuple[list[str], dict[str, int]]:
        """What may be trained on, and the evaluation items that took most out."""
        self.common(conf)
        texts, items = [], {}
        for shard in self.shards:
            stats = decontaminate(
                lambda part, shard=shard: self.folder / shard / part / "docs.parquet",
                [self.folder / "test.parquet"],
                lambda part, shard=shard: self.folder / "out" / shard / part / "docs.parquet",
                self.folder / shard / "rejects.parquet",
                conf,
                self.folder / shard / "common.parquet",
            )
            texts += pl.read_parquet(self.folder / "out" / shard / "train/docs.parquet")["text"].to_list()
            items |= stats["evaluation_items"]
        return texts, items


@pytest.mark.parametrize("write", [prose, han])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("own", [20, 60, 200])
def test_a_footer_that_many_letters_have_takes_none_of_them_out(
    tmp_path: Path, documents, write, shards: int, own: int
) -> None:
    footer = write("footer")
    letters = [f"{write(f'letter {n}', own)}\n\n{footer}" for n in range(9)]
    evaluation = [f"{write('evaluation', own)}\n\n{footer}", write("another")]
    corpus = Corpus(tmp_path, documents, evaluation, {f"s-{n}": letters[n::shards] for n in range(shards)})
    assert sorted(corpus.left()[0]) == sorted(letters)
    assert corpus.left(CONF.model_copy(update={"boilerplate": None, "max_share": 0.05}))[0] == []


def test_a_letter_that_quotes_the_evaluation_letter_leaves_all_the_same(tmp_path: Path, documents) -> None:
    footer, said = prose("footer"), prose("said")
    letters = [f"{prose(f'letter {n}')}\n\n{footer}" for n in range(9)]
    quoting = f"{prose('reply')}\n> {said}\n\n{footer}"
    corpus = Corpus(tmp_path, documents, [f"{said}\n\n{footer}"], {"s-0": [*letters, quoting]})
    texts, items = corpus.left()
    assert texts == letters
    assert items == {documents([f"{said}\n\n{footer}"], source="held-out")["id"][0]: 1}


def test_a_benchmark_that_many_documents_copy_is_compared_whole(tmp_path: Path, documents) -> None:
    question = prose("question", 30)
    copies = [f"{prose(f'before {n}')} {question} {prose(f'after {n}')}" for n in range(20)]
    corpus = Corpus(tmp_path, documents, [question], {"s-0": [*copies, prose("else")]})
    texts, items = corpus.left()
    assert texts == [prose("else")] and list(items.values()) == [20]


def test_the_items_that_took_most_out_are_named_the_first_ones_first(tmp_path: Path, documents) -> None:
    one, two = prose("one"), prose("two")
    corpus = Corpus(tmp_path, documents, [one, two], {"s-0": [f"a {two} b", f"c {two} d", f"e {one} f", "none of it"]})
    ids = documents([one, two], source="held-out")["id"].to_list()
    assert list(corpus.left()[1].items()) == [(ids[1], 2), (ids[0], 1)]


def test_another_shard_changes_what_concerns_a_shard_only_if_it_makes_boilerplate_of_it(
    tmp_path: Path, documents
) -> None:
    footer, other = prose("footer"), prose("other footer")
    evaluation = [f"{prose('e')} {footer}", f"{prose('f')} {other}"]
    shards = {"s-0": [f"{prose(f'a{n}')} {footer}" for n in range(6)]}
    before = Corpus(tmp_path / "a", documents, evaluation, shards).common(CONF)["s-0"]
    unlike = {**shards, "s-1": [f"{prose(f'b{n}')} {other}" for n in range(9)]}
    after = Corpus(tmp_path / "b", documents, evaluation, unlike).common(CONF)
    assert after["s-0"] == before and before and set(after["s-1"]).isdisjoint(before)
    fewer = {"s-0": shards["s-0"][:2]}
    assert Corpus(tmp_path / "c", documents, evaluation, fewer).common(CONF)["s-0"] == []
    more = {**fewer, "s-1": shards["s-0"][2:]}
    assert Corpus(tmp_path / "d", documents, evaluation, more).common(CONF)["s-0"] == before


def test_a_corpus_without_documents_has_no_boilerplate(tmp_path: Path, documents) -> None:
    assert Corpus(tmp_path, documents, [prose("e")], {"s-0": []}).common(CONF) == {"s-0": []}
