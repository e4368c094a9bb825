from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.schema.evaluate import EvaluateRun, GateConf, SampleSpec
from tasks.core.artifact import Artifact, hash_file
from tasks.core.errors import ArtifactError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.evaluate.steps import gate
from tasks.models.causal_lm.lm_options import LmEval
from tasks.models.causal_lm.steps import evaluate_lm
from tasks.models.chat.chat_options import ChatEval
from tasks.models.chat.steps import evaluate_chat, score_start
from tasks.models.text_classification.classifier_options import ClassifierEval
from tasks.models.text_classification.steps import evaluate_classifier

RUN = EvaluateRun(device="cpu", threads=1)
SAMPLES = SampleSpec(max_new_tokens=6)


def published(folder: Path, root: Path, step: str = "made") -> Artifact:
    """A folder as an artifact's content."""
    (root / "content").parent.mkdir(parents=True)
    (root / "content").symlink_to(folder)
    return Artifact(step, "key", "digest", root=root)


@pytest.fixture(scope="module")
def evaluations(
    model_dir: Path,
    chat_model: Path,
    classifier_model: Path,
    evalset: Path,
    docs_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Callable[[Workdir], Stats]]:
    root = tmp_path_factory.mktemp("inputs")
    base, chat, kinds = (
        published(folder, root / folder.parent.name) for folder in (model_dir, chat_model, classifier_model)
    )
    held, docs = published(evalset.parent, root / "evalset"), published(docs_dir, root / "docs")
    lm_conf = LmEval(window=64, stride=48, resamples=100, samples=SAMPLES, run=RUN)
    chat_conf = ChatEval(window=64, stride=48, resamples=100, samples=SAMPLES, run=RUN)
    kinds_conf = ClassifierEval(resamples=100, run=RUN)
    return {
        "evaluate_lm": lambda work: evaluate_lm.function(base, held, lm_conf, work),
        "evaluate_chat": lambda work: evaluate_chat.function(chat, held, chat_conf, work),
        "score_start": lambda work: score_start.function(base, chat, held, chat_conf, work),
        "evaluate_classifier": lambda work: evaluate_classifier.function(kinds, held, (docs,), kinds_conf, work),
    }


NAMES = ["evaluate_lm", "evaluate_chat", "evaluate_classifier"]


@pytest.fixture(scope="module", params=NAMES)
def done(
    request: pytest.FixtureRequest,
    evaluations: dict[str, Callable[[Workdir], Stats]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Workdir, Stats]:
    work = Workdir(tmp_path_factory.mktemp(request.param))
    work.make()
    return request.param, work, evaluations[request.param](work)


def digests(work: Workdir) -> dict[str, str]:
    return {path.name: hash_file(path) for path in work.content.iterdir()}


def test_two_runs_in_two_folders_write_the_same_bytes(
    done: tuple[str, Workdir, Stats], evaluations: dict[str, Callable[[Workdir], Stats]], tmp_path: Path
) -> None:
    name, work, _ = done
    again = Workdir(tmp_path)
    again.make()
    evaluations[name](again)
    assert digests(again) == digests(work)


def test_metrics_are_flat_finite_and_the_same_in_stats_and_file(done: tuple[str, Workdir, Stats]) -> None:
    _, work, stats = done
    written = json.loads((work.content / "metrics.json").read_text())
    assert written == stats["metrics"]
    assert all(isinstance(value, float) and math.isfinite(value) for value in written.values())
    assert all(name.removesuffix("_lo") in written for name in written if name.endswith("_lo"))


def test_items_have_an_id_each_and_a_loss(done: tuple[str, Workdir, Stats], evalset: Path) -> None:
    items = pl.read_parquet(done[1].content / "items.parquet")
    assert items["id"].is_unique().all() and items["nats"].is_finite().all()
    held = pl.read_parquet(evalset)
    known = {
        "evaluate_lm": held,
        "evaluate_chat": held.filter(pl.col("messages").is_not_null()),
        "evaluate_classifier": held.filter(pl.col("label").is_in(["click", "numpy", "pandas"])),
    }[done[0]]
    assert set(items["id"]) == set(known["id"])


def test_every_item_of_a_classifier_is_in_one_bin_of_its_calibration(done: tuple[str, Workdir, Stats]) -> None:
    name, work, stats = done
    if name == "evaluate_classifier":
        bins = json.loads((work.content / "calibration.json").read_text())
        assert sum(found["items"] for found in bins) == stats["documents"]
        right = sum(found["items"] * found["accuracy"] for found in bins) / stats["documents"]
        assert right == pytest.approx(stats["metrics"]["accuracy"], abs=1e-5)


def test_samples_are_greedy_and_drawn_for_every_prompt(done: tuple[str, Workdir, Stats]) -> None:
    name, work, _ = done
    if name == "evaluate_classifier":
        matrix = json.loads((work.content / "confusion.json").read_text())["matrix"]
        assert sum(map(sum, matrix)) == done[2]["documents"] == 30
        return
    rows = json.loads((work.content / "samples.json").read_text())
    assert [row["how"] for row in rows] == ["greedy", "seed 0"] * 3


def test_the_classifier_stands_beside_its_baselines(
    evaluations: dict[str, Callable[[Workdir], Stats]], tmp_path: Path
) -> None:
    work = Workdir(tmp_path)
    work.make()
    metrics = evaluations["evaluate_classifier"](work)["metrics"]
    assert metrics["naive_bayes_accuracy"] > 0.9 > metrics["majority_accuracy"]
    assert metrics["majority_roc_auc"] == 0.5
    assert metrics["unknown_labels"] == 1


def evaluation(folder: Path, nats: list[float], step: str = "evaluate_lm") -> Artifact:
    table: dict[str, Any] = {"id": [f"{n}" for n in range(len(nats))], "bytes": [10] * len(nats), "nats": nats}
    (folder / "content").mkdir(parents=True)
    pl.DataFrame(table).write_parquet(folder / "content" / "items.parquet")
    return Artifact(step, "key", "digest", root=folder)


def decide(
    tmp_path: Path, candidate: Artifact, champion: Artifact | None, *baselines: Artifact, floors: tuple[str, ...] = ()
) -> Stats:
    work = Workdir(tmp_path / "work")
    work.make()
    stats = gate.function(candidate, champion, *baselines, conf=GateConf(floors=floors), work=work)
    assert json.loads((work.content / "decision.json").read_text()) == stats
    return stats


def test_the_gate_accepts_a_better_model_and_says_why(tmp_path: Path) -> None:
    better, worse = evaluation(tmp_path / "a", [5.0] * 40), evaluation(tmp_path / "b", [6.0] * 40)
    decision = decide(tmp_path, better, worse)
    assert decision["accepted"] and "superior" in decision["reasons"][-1]


def test_the_gate_refuses_a_worse_model_without_an_error(tmp_path: Path) -> None:
    worse, better = evaluation(tmp_path / "a", [6.0] * 40), evaluation(tmp_path / "b", [5.0] * 40)
    decision = decide(tmp_path, worse, better)
    assert not decision["accepted"] and "not proven superior" in decision["reasons"][-1]


def test_the_gate_accepts_the_first_model(tmp_path: Path) -> None:
    assert decide(tmp_path, evaluation(tmp_path / "a", [6.0] * 40), None)["first"]


def test_the_gate_does_not_compare_evaluations_of_two_kinds(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "a", [6.0] * 40)
    other = evaluation(tmp_path / "b", [6.0] * 40, step="evaluate_chat")
    with pytest.raises(ArtifactError, match="evaluate_chat measure different things"):
        decide(tmp_path, one, other)


def test_a_chat_model_has_to_beat_what_it_was_made_from_on_the_same_items(tmp_path: Path) -> None:
    tuned = evaluation(tmp_path / "a", [5.0] * 40, step="evaluate_chat")
    for name, nats, holds in (("worse", 6.0, True), ("equal", 5.0, False)):
        start = evaluation(tmp_path / name, [nats] * 40, step="score_start")
        decision = decide(tmp_path / f"of {name}", tuned, None, start, floors=("untuned",))
        assert decision["accepted"] == holds == decision["floors"][0]["holds"]
        assert decision["floors"][0]["value"] == pytest.approx(nats / 10 / math.log(2))
    other = evaluation(tmp_path / "other", [6.0] * 39, step="score_start")
    with pytest.raises(ArtifactError, match="did not measure the same items"):
        decide(tmp_path / "of other", tuned, None, other, floors=("untuned",))
