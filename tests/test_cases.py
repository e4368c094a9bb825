"""Each given case whole: `init` looks at the files, and the data stages carry them out as they would in a run."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from conf.compose import compose
from conf.schema.recipe import Recipe
from flows.cli.main import main
from flows.data import prepare
from tasks.collect.sources.files import FilesSource
from tasks.core.errors import FromzeroError
from tasks.core.plan.planner import Reached
from tasks.core.step import interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tests import cases
from tests.in_process import InProcess

VALIDATION = ("profile_shard", "validate_corpus", "check_losses", "check_documents", "check_tokens")
"""Steps that judge and change no document; their own tests are elsewhere."""
PARTS = ("train", "valid", "test")


@dataclass
class Begun:
    """A folder of text that `init` has looked at."""

    said: str
    recipe: Recipe
    folder: Path

    @property
    def sources(self) -> list[FilesSource]:
        found = [*self.recipe.data.sources.values()]
        assert all(isinstance(source, FilesSource) for source in found)
        return found  # type: ignore[return-value]

    def until(self, step: str) -> Store:
        """The store after the data stages up to `step`."""
        store = Store(LocalBackend(self.folder / "store"))
        with interpreted_by(InProcess(store, until=step, skip=VALIDATION)), pytest.raises(Reached):
            prepare(self.recipe)
        return store


@pytest.fixture
def begin(home: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    """`fromzero init FOLDER` and its recipe, with overrides."""

    def run(folder: Path, *overrides: str) -> Begun:
        output = tmp_path / "mine.yaml"
        ran = CliRunner().invoke(main, ["init", str(folder), "-o", str(output)])
        assert ran.exit_code == 0, ran.output
        return Begun(ran.output, compose(str(output), overrides), tmp_path)

    return run


def reasons(store: Store, step: str) -> Counter[str]:
    """How many documents a step dropped for each reason."""
    found: Counter[str] = Counter()
    for manifest in store.manifests(step):
        for part in manifest.stats["parts"].values():
            found.update(part["reasons"])
    return found


def documents(store: Store, step: str) -> pl.DataFrame:
    """The documents that came out of a step."""
    frames = []
    for manifest in store.manifests(step):
        artifact = store.artifact(manifest)
        paths = [path for part in PARTS if (path := artifact / part / "docs.parquet").exists()] or (
            [artifact / "docs.parquet"]
        )
        frames += [pl.read_parquet(path) for path in paths]
    return pl.concat(frames)


# Near-duplicates


@pytest.mark.parametrize(("script", "number"), [("han", 200), ("hiragana", 60), ("thai", 60)])
def test_pairs_in_a_script_without_spaces_are_found_and_nothing_else_goes(
    begin, tmp_path: Path, script, number
) -> None:
    cases.pairs(tmp_path / "in", script, number)
    store = begin(tmp_path / "in").until("filter_shard")
    assert not reasons(store, "clean_shard")
    dropped = reasons(store, "filter_shard").total()
    assert 0.97 * number <= dropped <= number
    left = documents(store, "filter_shard")["text"].to_list()
    beginnings = Counter(text.splitlines()[-1] for text in left) | Counter(text.splitlines()[0] for text in left)
    assert len(left) == 2 * number - dropped and len(beginnings) >= number, "one of each pair is left"


def test_the_same_text_in_other_clothes_is_found(begin, tmp_path: Path) -> None:
    cases.clothes(tmp_path / "in", 70)
    store = begin(tmp_path / "in").until("filter_shard")
    assert not reasons(store, "clean_shard")
    assert reasons(store, "filter_shard").total() == 70


def shingles(text: str, unspaced: bool) -> set[tuple[str, ...]]:
    words, size = [*filter(str.isalnum, text)] if unspaced else text.lower().replace(".", "").split(), 5 + unspaced
    return {tuple(words[n : n + size]) for n in range(len(words) - size + 1)}


@pytest.mark.parametrize("kind", ["spaced", "unspaced", "edited"])
def test_of_a_chain_of_revisions_no_document_goes_that_is_unlike_all_that_stay(begin, tmp_path: Path, kind) -> None:
    cases.chain(tmp_path / "in", kind)
    begun = begin(tmp_path / "in")
    store, threshold = begun.until("filter_shard"), begun.recipe.data.dedup.threshold
    kept = [shingles(text, kind == "unspaced") for text in documents(store, "filter_shard")["text"]]
    before = [shingles(text, kind == "unspaced") for text in documents(store, "clean_shard")["text"]]
    assert len(before) == 300 and 300 / 5 < len(kept) < 300 / 3, "about one in four stays"
    nearest = [max(len(one & other) / len(one | other) for other in kept) for one in before]
    assert min(nearest) >= threshold
    apart = [len(one & other) / len(one | other) for n, one in enumerate(kept) for other in kept[:n]]
    assert sum(alike >= threshold for alike in apart) <= 0.05 * len(kept), (
        "of two that stay one is no copy of the other"
    )


# Decontamination


@pytest.mark.parametrize("script", ["han", "hiragana", "thai"])
def test_documents_that_hold_a_benchmarks_text_leave_and_no_other(begin, tmp_path: Path, script: str) -> None:
    asked, others = (50, 250) if script == "han" else (20, 80)
    path = cases.quiz(tmp_path / "in", script, asked, others)
    against = ("data.decontaminate.against.quiz.kind=files", f"data.decontaminate.against.quiz.paths=[{path}]")
    store = begin(tmp_path / "in/docs", *against).until("decontaminate_shard")
    before, after = documents(store, "filter_shard"), documents(store, "decontaminate_shard")
    questions = pl.read_ndjson(path)["text"].to_list()

    def holding(texts: pl.Series) -> int:
        return sum(any(question in text for question in questions) for text in texts)

    frozen = pl.concat(pl.read_parquet(store.artifact(m) / "test.parquet") for m in store.manifests("freeze_evalset"))
    trained = before.filter(~pl.col("id").is_in(frozen["id"].to_list()))
    assert holding(trained["text"]) > 0.5 * asked and holding(after["text"]) == 0
    assert after.height == trained.height - holding(trained["text"])


@pytest.mark.parametrize("kind", ["below", "above", "unspaced"])
def test_a_footer_that_many_letters_have_makes_none_of_them_leave(begin, tmp_path: Path, kind: str) -> None:
    cases.footers(tmp_path / "in", kind)
    store = begin(tmp_path / "in").until("decontaminate_shard")
    assert not reasons(store, "filter_shard") and not reasons(store, "decontaminate_shard")


# Conversations


@pytest.mark.parametrize(
    "speakers",
    [
        (("human", "gpt"), ("user", "Assistant"), ("user", "assistant")),
        (("Human", "assistant"),),
        (("User", "GPT"), ("human", "model")),
    ],
)
def test_who_speaks_is_understood_or_refused_with_the_role_and_the_line(begin, tmp_path: Path, speakers) -> None:
    cases.talks(tmp_path / "in/talks.jsonl", speakers, 120)
    begun = begin(tmp_path / "in")
    try:
        found = documents(begun.until("fetch_shard"), "fetch_shard")
    except FromzeroError as error:
        assert any(name in str(error) for pair in speakers for name in pair) and "talks.jsonl" in str(error)
        return
    turns = [[turn["role"] for turn in talk] for talk in found["messages"].to_list()]
    assert turns == [["user", "assistant"]] * 120


def test_conversations_of_from_and_value_are_understood_by_their_columns(begin, tmp_path: Path) -> None:
    cases.sharegpt(tmp_path / "in/sharegpt.jsonl", 60)
    found = documents(begin(tmp_path / "in").until("fetch_shard"), "fetch_shard")
    talks = found["messages"].to_list()
    assert [[turn["role"] for turn in talk] for talk in talks] == [["user", "assistant"]] * 60
    assert all(turn["content"].endswith(".") for talk in talks for turn in talk)


# Labels


@pytest.mark.parametrize("kind", ["jsonl", "tsv", "a file for each"])
def test_labels_of_rows_that_are_sorted_by_class_are_found(begin, tmp_path: Path, kind: str) -> None:
    cases.sorted_labels(tmp_path / "in", kind)
    begun = begin(tmp_path / "in")
    assert [source.label for source in begun.sources] == ["label"] and "classifier" in begun.recipe.models
    labels = documents(begun.until("fetch_shard"), "fetch_shard")["label"]
    assert dict(labels.value_counts().iter_rows()) == {"calm": 300, "rough": 300, "odd": 300}


@pytest.mark.parametrize("kind", ["plain", "deep", "packed"])
def test_a_folder_for_each_class_gives_labels(begin, tmp_path: Path, kind: str) -> None:
    cases.label_folders(tmp_path / "in", kind)
    begun = begin(tmp_path / "in")
    labels = documents(begun.until("fetch_shard"), "fetch_shard")["label"]
    assert dict(labels.value_counts().iter_rows()) == {"calm": 40, "rough": 40, "odd": 40}


@pytest.mark.parametrize("field", ["label", "text"])
def test_a_row_with_half_a_surrogate_in_any_column_is_set_aside(begin, tmp_path: Path, field: str) -> None:
    cases.lone_surrogate(tmp_path / "in", field)
    begun = begin(tmp_path / "in", "data.sources.mine.max_bad_rows=1")
    store = begun.until("fetch_shard")
    (stats,) = [manifest.stats for manifest in store.manifests("fetch_shard")]
    assert (stats["rows"], stats["unreadable"]) == (20, 1)
    assert documents(store, "fetch_shard").height == 20
    refusing = Begun(begun.said, begun.recipe, tmp_path / "again")
    strict = refusing.recipe.data.sources["mine"].model_copy(update={"max_bad_rows": 0})
    data = refusing.recipe.data.model_copy(update={"sources": {"mine": strict}})
    refusing.recipe = refusing.recipe.model_copy(update={"data": data})
    with pytest.raises(FromzeroError, match=r"docs\.jsonl.*21"):
        refusing.until("fetch_shard")


# What files look like


@pytest.mark.parametrize("kind", [*cases.NESTED])
def test_a_text_in_nested_fields_is_joined(begin, tmp_path: Path, kind: str) -> None:
    cases.nested(tmp_path / "in", kind)
    begun = begin(tmp_path / "in")
    found = documents(begun.until("fetch_shard"), "fetch_shard")["text"].to_list()
    wanted = [(cases.prose(n, 2), cases.prose(n + 50, 2)) for n in range(80)]
    assert len(found) == 80
    assert all(any(first in text and second in text for text in found) for first, second in wanted)
    assert "title" in begun.said or "title" in (tmp_path / "mine.yaml").read_text()


@pytest.mark.parametrize("name", [*cases.ENCODED])
def test_an_encoding_is_known_by_its_text(begin, tmp_path: Path, name: str) -> None:
    cases.encoded(tmp_path / "in", name)
    (text,) = documents(begin(tmp_path / "in").until("fetch_shard"), "fetch_shard")["text"]
    assert text.strip() == (cases.ENCODED[name] * 30).strip()


def test_one_file_in_another_encoding_among_many_is_read_as_what_it_is(begin, tmp_path: Path) -> None:
    cases.one_odd(tmp_path / "in")
    found = documents(begin(tmp_path / "in").until("fetch_shard"), "fetch_shard")
    assert found.height == 500
    odd = [text.strip() for text in found["text"] if "caf" in text]
    assert odd == [("A café by the river. " * 9).strip()]


@pytest.mark.parametrize("ending", cases.ENDINGS)
def test_endings_that_corpora_have_are_read(begin, tmp_path: Path, ending: str) -> None:
    cases.endings(tmp_path / "in", ending)
    texts = documents(begin(tmp_path / "in").until("fetch_shard"), "fetch_shard")["text"].str.strip_chars().to_list()
    wanted = [*(cases.prose(7000 + n, 4) for n in range(40)), cases.prose(7100, 4), "What this corpus is."]
    assert sorted(texts) == sorted(wanted)


@pytest.mark.parametrize("kind", [*cases.NAMES])
def test_a_file_of_an_odd_name_is_read_and_its_name_shown_in_one_line_of_utf8(begin, tmp_path: Path, kind) -> None:
    cases.names(tmp_path / "in", kind)
    begun = begin(tmp_path / "in")
    found = documents(begun.until("fetch_shard"), "fetch_shard")
    assert sorted(found["text"].str.strip_chars()) == sorted([cases.prose(1, 8), cases.prose(2, 8)])
    (odd,) = [uri for uri in found["uri"] if not uri.endswith("plain.txt")]
    assert odd.encode() and all(line.isprintable() for line in begun.said.splitlines())


# Personal data


def test_personal_data_beside_letters_without_spaces_is_hidden_and_nothing_else(begin, tmp_path: Path) -> None:
    wanted = [right for _, right in cases.personal(tmp_path / "in")]
    store = begin(tmp_path / "in").until("clean_shard")
    found = documents(store, "clean_shard")["text"].to_list()
    missing = [right.splitlines()[1] for right in wanted if right not in found]
    assert not missing and len(found) == len(wanted)


# Markers of the tokenizer


def test_a_marker_in_a_text_is_text(begin, tmp_path: Path) -> None:
    import numpy as np
    from tokenizers import Tokenizer

    cases.markers(tmp_path / "in")
    store = begin(tmp_path / "in", "tokenizer.vocab_size=600").until("tokenize_shard")
    (made,) = [store.artifact(manifest) for manifest in store.manifests("train_tokenizer")]
    tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
    end = tokenizer.token_to_id(cases.MARKER)
    trained = documents(store, "decontaminate_shard").height
    tokens = [
        np.fromfile(store.artifact(manifest) / part / "tokens.bin", "<u2")
        for manifest in store.manifests("tokenize_shard")
        for part in ("train", "valid")
    ]
    assert end is not None and sum(int((ids == end).sum()) for ids in tokens) == trained
    assert random.Random(0).choice(documents(store, "decontaminate_shard")["text"].to_list()).count(cases.MARKER) == 1


def test_the_bits_per_byte_of_texts_with_markers_are_those_of_plain_torch(begin, tmp_path: Path) -> None:
    """No code of ours computes what is expected: ids by `tokenizers`, without its added tokens, losses by torch."""
    import json
    import math

    import numpy as np
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    from conf.schema.evaluate import EvaluateRun
    from tasks.core.workdir import Workdir
    from tasks.models.causal_lm import bits_per_byte, continuing
    from tasks.models.causal_lm.lm_options import LmEval

    cases.markers(tmp_path / "in")
    store = begin(tmp_path / "in", "tokenizer.vocab_size=600").until("tokenize_shard")
    (folder,) = [store.artifact(manifest).path for manifest in store.manifests("train_tokenizer")]
    (evalset,) = [store.artifact(manifest) / "test.parquet" for manifest in store.manifests("freeze_evalset")]
    (tokens,) = [store.artifact(manifest) for manifest in store.manifests("tokenize_shard")]
    held = json.loads((folder / "tokenizer.json").read_text())
    end = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(cases.MARKER)
    plain = Tokenizer.from_str(json.dumps({**held, "added_tokens": [], "post_processor": None}))
    texts = pl.read_parquet(evalset)["text"].to_list()
    ids = [plain.encode(text).ids for text in texts]
    assert all(end not in one for one in ids)

    torch.manual_seed(0)
    model_dir = tmp_path / "model"
    shutil.copytree(folder, model_dir)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=600, max_position_embeddings=512, bos_token_id=None, **sizes))
    read = torch.tensor(np.fromfile(tokens / "train/tokens.bin", "<u2").astype(np.int64))
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    for _ in range(60):
        starts = torch.randint(len(read) - 129, (16,))
        batch = torch.stack([read[start : start + 128] for start in starts])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(model_dir)

    def bits(rows: list[list[int]]) -> float:
        with torch.no_grad():
            nats = [torch.nn.functional.cross_entropy(
                        model(input_ids=torch.tensor([[end, *row]])).logits[0].double(), torch.tensor([*row, end]),
                        reduction="sum") for row in rows]  # fmt: skip
        return float(sum(nats)) / math.log(2) / sum(len(text.encode()) for text in texts)

    work = Workdir(tmp_path / "work")
    work.make()
    conf = LmEval(window=512, stride=256, prompts=(), run=EvaluateRun(device="cpu", threads=1))
    measured = bits_per_byte.run(model_dir, evalset, conf, work)["metrics"]["bits_per_byte"]
    assert measured == pytest.approx(bits(ids), rel=1e-4)
    forged = [Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids for text in texts]
    assert abs(bits(forged) / measured - 1) > 0.01, "read as the control token it is another figure"
    encoder = continuing.load(model_dir)[1]
    assert [row[-len(one) :] for row, one in zip(continuing.prompted(encoder, texts), ids, strict=True)] == ids
    trained = documents(store, "decontaminate_shard")["text"].to_list()
    index = np.load(tokens / "train/index.npy")
    pretrained = {tuple(read[first : last - 1].tolist()) for first, last in itertools.pairwise(index)}
    assert pretrained <= {tuple(plain.encode(text).ids) for text in trained}
