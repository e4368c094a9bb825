"""Every kind of models from examples to answers: trained, proven, measured beside its baselines, asked."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.schema.finetune import FinetuneRun
from tasks.core.errors import DataError
from tasks.core.workdir import Workdir
from tasks.formats.model_folder import read_task
from tasks.text import targets
from tests.tasks.tiny_model import WORDS, table

RUN = FinetuneRun(device="cpu", threads=1)
HOW = {"batch_size": 8, "eval_every": 10, "epochs": 12, "learning_rate": 5e-3, "max_length": 32, "run": RUN}


def rated(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A text with a word for each of its stars."""
    stars = draw.randint(0, 5)
    words = draw.choices(WORDS["pandas"], k=5 - stars) + ["array"] * stars
    draw.shuffle(words)
    return " ".join(words), {"number": float(stars)}


def spanned(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A text in which each word behind `the` is a thing."""
    text, spans = "", []
    for _ in range(draw.randint(2, 5)):
        word = draw.choice(WORDS["numpy"])
        if draw.random() < 0.5:
            spans.append([len(text) + 4, len(text) + 4 + len(word), "THING"])
            text += "the "
        text += f"{word} "
    return text, {"spans": spans}


def several(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A text of some libraries' words, or of none's."""
    labels = [label for label in WORDS if draw.random() < 0.5]
    words = [draw.choice(WORDS[label]) for label in labels for _ in range(2)] + ["of", "the"]
    draw.shuffle(words)
    return " ".join(words), {"labels": labels}


KINDS: dict[str, tuple[Any, str, str, dict[str, Any], str, str]] = {
    "text_regression": (rated, "number_training", "number_evaluation", {}, "mae", "mean"),
    "token_classification": (spanned, "span_training", "span_evaluation", {}, "span_f1", "dictionary"),
    "text_classification": (
        several, "classifier_training", "classifier_evaluation", {"several": True, "min_per_class": 2}, "macro_f1",
        "majority",
    ),
}  # fmt: skip
"""What texts are made by, the modules that train and measure, further options, a metric, a baseline to beat in it."""


def write(folder: Path, make: Any) -> tuple[Path, Path]:
    """Documents with targets, and an evaluation set, each with one that has none."""
    for part, count, seed in (("train", 120, 1), ("valid", 30, 2), ("test", 60, 3)):
        draw = random.Random(seed)
        rows = [make(draw) for _ in range(count)]
        texts = table([{"text": f"{text} {n}"} for n, (text, _) in enumerate(rows)] + [{"text": "nothing said"}])
        said = [*(targets.write(one) for _, one in rows), None]
        (folder / part).mkdir()
        texts.with_columns(targets=pl.Series(said, dtype=pl.String)).write_parquet(folder / part / "docs.parquet")
    return folder, folder / "test" / "docs.parquet"


@pytest.fixture(scope="module", params=KINDS)
def cycle(request: pytest.FixtureRequest, model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A kind, its conf, what training said, the model's folder, the evaluation's, and the documents."""
    make, training, evaluation, more, *_ = KINDS[request.param]
    docs, evalset = write(tmp_path_factory.mktemp("docs"), make)
    package = f"tasks.models.{request.param}"
    kind = import_module(f"{package}.kind")
    conf = kind.OPTIONS.model_validate({"kind": request.param, "train": {**HOW, **more}}).named("own")
    trained, measured = (Workdir(tmp_path_factory.mktemp(name)) for name in ("trained", "measured"))
    for work in (trained, measured):
        work.make()
    import_module(f"{package}.{training}").run(model_dir, [docs], conf.training, trained)
    folder, parts = trained.content / "model", [docs / "train" / "docs.parquet"]
    stats = import_module(f"{package}.{evaluation}").run(folder, evalset, parts, conf.measurement, measured)
    return kind.KIND, conf, stats, folder, measured.content, evalset


def test_it_learns_more_than_its_baseline(cycle: Any) -> None:
    kind, _, stats, *_ = cycle
    *_, metric, baseline = KINDS[kind.name]
    ours, theirs = stats["metrics"][metric], stats["metrics"][f"{baseline}_{metric}"]
    assert stats["metrics"][f"{metric}_lo"] <= ours <= stats["metrics"][f"{metric}_hi"]
    higher = next(one for one in kind.measures if one.name == metric).higher_is_better
    assert ours > theirs if higher else ours < theirs


def test_what_the_gate_compares_is_made_from_the_items(cycle: Any) -> None:
    kind, _, stats, _, folder, _ = cycle
    items = pl.read_parquet(folder / "items.parquet")
    for name, metric in kind.metrics().items():
        assert set(metric.needs) <= set(items.columns)
        value = metric.value(metric.columns(items.select(metric.needs)).sum(axis=0))
        assert float(value) == pytest.approx(stats["metrics"][name], abs=2e-6)


def test_asked_alone_it_answers_what_was_measured(cycle: Any) -> None:
    kind, _, _, folder, measured, evalset = cycle
    asking = import_module(kind.answering)
    model, encoder = asking.load(folder)
    items = pl.read_parquet(measured / "items.parquet")
    texts = items.join(pl.read_parquet(evalset).select("id", "text"), on="id", maintain_order="left")["text"].to_list()
    answers = asking.answer(model, encoder, texts, read_task(folder))
    assert all(set(answer) == set(kind.columns) for answer in answers)
    if kind.name == "text_regression":
        assert [answer["number"] for answer in answers] == pytest.approx(items["predicted"].to_list(), abs=1e-3)
    elif kind.name == "token_classification":
        said = ["; ".join(f"{span['label']}: {span['text']}" for span in answer["spans"]) for answer in answers]
        assert said == items["predicted"].to_list()
    else:
        assert [answer["label"] for answer in answers] == [", ".join(held) for held in items["predicted"].to_list()]


def test_documents_without_what_it_learns_are_refused_by_the_option(
    cycle: Any, model_dir: Path, tmp_path: Path
) -> None:
    kind, conf, *_ = cycle
    for part in ("train", "valid"):
        (tmp_path / part).mkdir()
        table([{"text": f"text {n}"} for n in range(9)]).write_parquet(tmp_path / part / "docs.parquet")
    work = Workdir(tmp_path / "work")
    work.make()
    training = import_module(f"tasks.models.{kind.name}.{KINDS[kind.name][1]}")
    with pytest.raises(DataError, match=r"columns|min_per_class"):
        training.run(model_dir, [tmp_path], conf.training, work)
