from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from conf.schema.finetune import FinetuneRun
from tasks.core.errors import DataError
from tasks.core.workdir import Workdir
from tasks.evaluate import scoring
from tasks.finetune import export, text_examples
from tasks.finetune.examples import whole_texts
from tasks.finetune.pooled_classifier import POOLING
from tasks.models.text_classification import classifier_training, labelling
from tasks.models.text_classification.classifier_options import AugmentConf, ClassifyConf
from tasks.models.text_classification.kind import OPTIONS
from tasks.text.text_models import OWN_HEAD
from tests.tasks.tiny_model import labelled_rows, table

CONF = ClassifyConf(
    batch_size=8,
    max_length=32,
    eval_every=5,
    epochs=8,
    learning_rate=5e-3,
    min_per_class=2,
    mask_labels=True,
    run=FinetuneRun(device="cpu", threads=1),
)


def hide(text: str, labels: list[str], *words: str) -> str:
    conf = ClassifyConf(masked_words=words, mask_labels=True)
    return re.sub(classifier_training.mask_pattern(labels, conf), conf.mask, text)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("PyTorch and torch.nn", "LIB and LIB.nn"),
        ("__torch_function__ of torchlight", "__LIB_function__ of torchlight"),
        ("see scikit-learn, scikit_learn or sklearn", "see LIB, LIB or LIB"),
        ("np.array, input, http://numpy.org", "LIB.array, input, http://LIB.org"),
        ("TORCH2 torch2", "TORCH2 torch2"),
    ],
)
def test_names_are_hidden_as_whole_words_whatever_their_case(text: str, hidden: str) -> None:
    assert hide(text, ["torch", "numpy", "scikit-learn"], "pytorch", "np", "sklearn") == hidden


@given(st.sampled_from(["numpy", "scikit-learn", "a+b"]), st.text(alphabet=" .,_-(\n", max_size=3))
def test_no_label_stands_between_separators_after_masking(label: str, gap: str) -> None:
    assert label not in hide(f"{gap}{label}{gap} {label.upper()}", [label])


def test_with_nothing_to_hide_the_text_stays_as_it_is() -> None:
    pattern = classifier_training.mask_pattern(["numpy", "business", "tech"], ClassifyConf())
    assert re.sub(pattern, "LIB", "numpy in business and tech is here") == "numpy in business and tech is here"


def test_a_text_stands_behind_the_token_that_documents_begin_with(model_dir: Path) -> None:
    tokenizer = export.load_tokenizer(model_dir)
    tokenizer.bos_token = "<|endoftext|>"
    encode = classifier_training.encoder(tokenizer, "(?!)", CONF)
    long, empty = encode(["array " * 100, ""])
    assert (len(long) > 100, long[0], empty) == (True, 0, [0])


@pytest.mark.parametrize(
    ("lengths", "context", "limit", "wanted"),
    [
        (range(1, 101), 1024, 512, 96),
        ([5] * 100, 1024, 512, 8),
        (range(1, 101), 64, 512, 64),
        (range(1, 10_001), 1024, 300, 300),
        (range(1, 10_001), None, 512, 512),
    ],
)
def test_the_length_comes_from_the_texts_and_is_bounded_by_context_and_cost(
    lengths: list[int], context: int | None, limit: int, wanted: int
) -> None:
    assert text_examples.longest(lengths, context, "auto", limit) == wanted
    assert text_examples.longest(lengths, context, 17, limit) == 17


def test_equal_texts_with_two_labels_are_counted_once_each() -> None:
    rows = [("same", "a"), ("same ", "b"), ("same", "c"), ("twice", "a"), ("twice", "a"), ("alone", "b")]
    assert classifier_training.contradictions(table([{"text": text, "label": label} for text, label in rows])) == 1
    assert classifier_training.contradictions(table([{"text": text, "label": label} for text, label in rows[3:]])) == 0


def test_at_most_so_many_documents_of_a_label_are_taken_in_order_of_id(tmp_path: Path) -> None:
    path = tmp_path / "docs.parquet"
    everything = table(labelled_rows(60, 0))
    everything.write_parquet(path)
    found = classifier_training.labelled([path], 5)
    assert found["label"].value_counts()["count"].to_list() == [5, 5, 5]
    ids = everything.filter(label="numpy")["id"].sort().to_list()
    assert found.filter(label="numpy")["id"].to_list() == ids[:5]


def test_rare_labels_are_left_out_and_counted() -> None:
    rows = [{"text": f"{n}", "label": label} for n, label in enumerate("aaabbbc")]
    assert classifier_training.classes(table(rows), 3) == (["a", "b"], {"c": 1})


def test_one_class_alone_is_an_error_in_the_data() -> None:
    with pytest.raises(DataError, match="min_per_class"):
        classifier_training.classes(table([{"text": f"{n}", "label": "a"} for n in range(9)]), 2)


def test_balanced_weights_make_every_class_count_the_same() -> None:
    few, many = classifier_training.class_weights([10, 90], ClassifyConf())
    assert 10 * few == pytest.approx(90 * many) and 10 * few + 90 * many == pytest.approx(100)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 3))
def test_balanced_classes_have_one_size_and_every_example_comes_about_as_often(labels: list[int], seed: int) -> None:
    sizes = Counter(labels)
    for balance, wanted in (("undersample", min(sizes.values())), ("oversample", max(sizes.values()))):
        chosen = classifier_training.balanced(labels, ClassifyConf(balance=balance, seed=seed))
        assert (
            chosen == classifier_training.balanced(labels, ClassifyConf(balance=balance, seed=seed)) == sorted(chosen)
        )
        assert Counter(labels[n] for n in chosen) == dict.fromkeys(sizes, wanted)
        times = Counter(chosen)
        for label in sizes:
            own = [times[n] for n, one in enumerate(labels) if one == label]
            assert max(own) - min(own) <= 1
    for balance in ("weights", "none"):
        assert classifier_training.balanced(labels, ClassifyConf(balance=balance)) == list(range(len(labels)))


def test_another_seed_draws_other_examples() -> None:
    labels = [0] * 40 + [1] * 10
    drawn = {
        tuple(classifier_training.balanced(labels, ClassifyConf(balance="undersample", seed=seed))) for seed in range(5)
    }
    assert len(drawn) == 5


def test_without_balance_all_classes_weigh_the_same() -> None:
    for balance in ("none", "oversample"):
        assert classifier_training.class_weights([90, 10], ClassifyConf(balance=balance)) == [1.0, 1.0]


@pytest.mark.parametrize("pooling", ["auto", "mean", "mean_max", "first", "last"])
@pytest.mark.parametrize("ngrams", [0, 3])
def test_padding_changes_nothing_and_the_stored_head_says_the_same(
    model_dir: Path, tmp_path: Path, pooling: str, ngrams: int
) -> None:
    model = classifier_training.make_network(
        model_dir, ["a", "b"], 0, ClassifyConf(pooling=pooling, ngrams=ngrams, buckets=50)
    )
    for weights in model.wide.parameters() if model.wide else ():
        torch.nn.init.normal_(weights)
    ids, mask, _ = whole_texts(0)([{"input_ids": [5, 6, 7], "labels": 0}, {"input_ids": [5] * 9, "labels": 1}])
    model.save_pretrained(tmp_path)
    stored = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        padded = model(torch.from_numpy(ids), torch.from_numpy(mask)).logits[0]
        alone = stored(input_ids=torch.tensor([[5, 6, 7]])).logits[0]
    torch.testing.assert_close(padded, alone, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("pooling", "changed"), [("mean", True), ("mean_max", True), ("last", False), ("first", False)]
)
def test_of_a_causal_model_the_mean_reads_every_token_and_one_token_is_read_alone(
    model_dir: Path, pooling: str, changed: bool
) -> None:
    model = classifier_training.make_network(model_dir, ["a", "b"], 0, ClassifyConf(pooling=pooling, ngrams=0)).eval()
    with torch.no_grad():
        states = model.body(torch.tensor([[5, 6, 7]])).last_hidden_state
        states[0, 1] += 1.0
        pooled = torch.cat([pool(states, torch.ones(1, 3)) for pool in POOLING[pooling]], dim=-1)
        whole = model(torch.tensor([[5, 6, 7]])).logits
    assert torch.allclose(model.head(pooled), whole) != changed


def test_an_encoder_keeps_the_head_that_it_brings_along(model_dir: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    BertForMaskedLM(BertConfig(vocab_size=30, **small)).save_pretrained(tmp_path)
    assert (
        type(classifier_training.make_network(tmp_path, ["a", "b"], 0, ClassifyConf())).__name__
        == "BertForSequenceClassification"
    )
    pooled = classifier_training.make_network(tmp_path, ["a", "b"], 0, ClassifyConf(pooling="mean"))
    assert pooled(torch.tensor([[5, 6, 7]])).logits.shape == (1, 2)


def test_two_copies_of_a_model_in_two_folders_give_equal_bytes(model_dir: Path, tmp_path: Path) -> None:
    written = []
    for name in ("one", "other"):
        shutil.copytree(model_dir, tmp_path / name / "base")
        torch.manual_seed(0)
        model = classifier_training.make_network(tmp_path / name / "base", ["a", "b"], 0, ClassifyConf())
        model.save_pretrained(tmp_path / name / "model")
        files = sorted((tmp_path / name / "model").iterdir())
        written.append([(file.name, file.read_bytes()) for file in files])
    assert written[0] == written[1]


@pytest.fixture(scope="module")
def tuned(model_dir: Path, docs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workdir, Any]:
    work = Workdir(tmp_path_factory.mktemp("classify"))
    work.make()
    return work, classifier_training.run(model_dir, [docs_dir], CONF, work)


def test_the_classifier_learns_words_that_give_the_label_away(tuned: tuple[Workdir, Any], docs_dir: Path) -> None:
    folder = tuned[0].content / "model"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    valid = classifier_training.labelled([docs_dir / "valid" / "docs.parquet"], None)
    task = json.loads((folder / "task.json").read_text())
    encode = classifier_training.encoder(scoring.load_tokenizer(folder, OWN_HEAD), task["mask_pattern"], CONF)
    read = [ids[: task["max_length"]] for ids in encode(valid["text"].to_list())]
    with torch.no_grad():
        guesses = [int(model(input_ids=torch.tensor([ids])).logits.argmax()) for ids in read]
    right = sum(model.config.id2label[n] == label for n, label in zip(guesses, valid["label"], strict=True))
    assert right / len(guesses) > 0.8


def test_balanced_and_changed_copies_are_trained_on_and_counted(
    tuned: tuple[Workdir, Any], model_dir: Path, docs_dir: Path, tmp_path: Path
) -> None:
    assert tuned[1]["examples"] == tuned[1]["classes"]
    work, augment = Workdir(tmp_path), AugmentConf(copies=2, swap=0.2)
    work.make()
    conf = CONF.model_copy(update={"epochs": 1, "balance": "oversample", "augment": augment})
    stats = classifier_training.run(model_dir, [docs_dir], conf, work)
    assert stats["classes"] == tuned[1]["classes"] and stats["documents"] == sum(stats["classes"].values())
    assert stats["examples"] == dict.fromkeys(stats["classes"], 3 * max(stats["classes"].values()))
    assert stats["steps"] == -(-sum(stats["examples"].values()) // conf.batch_size)


def test_task_json_says_all_that_evaluation_needs(tuned: tuple[Workdir, Any]) -> None:
    task = json.loads((tuned[0].content / "model" / "task.json").read_text())
    assert task["kind"] == "classification" and task["labels"] == ["click", "numpy", "pandas"]
    assert re.sub(task["mask_pattern"], task["mask"], "click") == "LIB" and task["max_length"] == 32


def test_training_stops_early_when_the_valid_loss_gets_worse_and_keeps_the_best(
    model_dir: Path, docs_dir: Path, tmp_path: Path
) -> None:
    work = Workdir(tmp_path)
    work.make()
    wild = CONF.model_copy(update={"learning_rate": 0.05, "epochs": 60, "patience": 2})
    stats = classifier_training.run(model_dir, [docs_dir], wild, work)
    assert stats["best_step"] == stats["steps"] - 2 * wild.eval_every < 480


NETWORKS = {
    "lstm": {"kind": "lstm", "width": 16, "hidden": 32, "dropout": 0.1},
    "cnn": {"kind": "cnn", "width": 16, "channels": 8, "sizes": [2, 3], "dropout": 0.1},
    "lstm with its embeddings": {
        "kind": "lstm",
        "hidden": 32,
        "layers": 2,
        "bidirectional": False,
        "embeddings": "start",
    },
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_small_network_learns_as_well_and_is_read_back_by_plain_transformers(
    network: dict[str, Any], model_dir: Path, docs_dir: Path, tmp_path: Path
) -> None:
    work = Workdir(tmp_path)
    work.make()
    conf = ClassifyConf.model_validate({**dict(CONF), "network": network, "learning_rate": "auto", "epochs": 12})
    stats = classifier_training.run(model_dir, [docs_dir], conf, work)
    assert stats["pooling"] == "mean_max" and stats["proof"]["same_model"] < 1e-5
    valid = classifier_training.labelled([docs_dir / "valid" / "docs.parquet"], None)
    network_, encoder = labelling.load(work.content / "model")
    task = json.loads((work.content / "model" / "task.json").read_text())
    said = [one["label"] for one in labelling.answer(network_, encoder, valid["text"].to_list(), task)]
    assert sum(one == label for one, label in zip(said, valid["label"], strict=True)) / len(said) > 0.8


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_padding_changes_nothing_for_a_small_network(network: dict[str, Any], model_dir: Path) -> None:
    conf = ClassifyConf.model_validate({"network": network})
    model = classifier_training.make_network(model_dir, ["a", "b"], 0, conf).eval()
    ids, mask, _ = whole_texts(0)([{"input_ids": [5, 6, 7], "labels": 0}, {"input_ids": [5] * 9, "labels": 1}])
    with torch.no_grad():
        padded = model(torch.from_numpy(ids), torch.from_numpy(mask)).logits[0]
        alone = model(torch.tensor([[5, 6, 7]])).logits[0]
    torch.testing.assert_close(padded, alone, atol=1e-6, rtol=1e-4)


def test_a_network_that_knows_nothing_is_trained_whole() -> None:
    given = {"kind": "text_classification", "train": {"network": {"kind": "cnn"}}, "method": {"kind": "lora"}}
    with pytest.raises(ValueError, match="knows nothing before training"):
        OPTIONS.model_validate(given)
