"""The two effects, on a real MLflow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mlflow import MlflowClient

from conf.schema.release import RegisterConf
from tasks.core.artifact import Artifact, Manifest, sha256
from tasks.core.errors import ConfigError, Refused
from tasks.core.store.store import Miss
from tasks.core.tracking.mlflow_db import prepare, tracking_uri
from tasks.core.tracking.tracking import Tracking
from tasks.core.workdir import Workdir
from tasks.register import generate as asking
from tasks.register import registry
from tasks.register.generate import generate
from tasks.register.steps import (
    aliases_of,
    artifact_of,
    artifacts_of_models,
    champion_of,
    find_promoted,
    find_registered,
    promote_model,
    register_model,
    starting_point,
    weights_of,
)
from tests.mlflow_server import MlflowServer
from tests.tasks.register.conftest import MADE_BY, MADE_FROM, FakeStore, Publish

ROOT = Path(__file__).parents[3]
PREDICT = """
import json, sys, mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
for given in json.loads(sys.argv[3]):
    given = pandas.DataFrame(given) if isinstance(given, dict) else given
    out = model.predict(given, params=json.loads(sys.argv[4]))
    print(json.dumps(out.to_dict("records") if hasattr(out, "to_dict") else list(out)))
"""


def predict(uri: str, model: str, *given: Any, params: dict[str, Any] | None = None) -> list[Any]:
    """What a process that knows nothing of this project gets for each input."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FROMZERO")}
    command = [sys.executable, "-c", PREDICT, uri, model, json.dumps(given), json.dumps(params)]
    done = subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()[-len(given) :]]


def decide(publish: Publish, accepted: bool, **stats: Any) -> Artifact:
    shown = {
        "rule": "superior",
        "metric": "bits_per_byte",
        "difference": -0.1,
        "interval": [-0.2, -0.05],
        "reasons": [],
    }
    return publish("gate", None, None, accepted=accepted, **shown | stats)


def test_importing_the_steps_imports_nothing_heavy() -> None:
    heavy = "{'mlflow', 'torch', 'polars', 'pandas', 'transformers', 'sqlalchemy', 'httpx'}"
    code = f"import sys, tasks.register.steps, conf.schema.release; sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_a_registered_model_loads_elsewhere_as_pyfunc_and_with_transformers_also_after_a_move(
    home: Path, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact, base: RegisterConf
) -> None:
    model = publish("pretrain", "model", tiny, tokens=1000)
    registered = register_model.function(model, evaluation, conf=base, work=work)
    promote_model.function(registered, None, decide(publish, True), conf=base, work=work)
    moved = home.parent / "moved home"
    shutil.move(home, moved)
    uri = prepare(moved)
    options = {"max_new_tokens": 5, "temperature": 0.0}
    frame, texts = {"text": ["say array", "numpy"]}, ["say array"]
    of_frame, of_texts = predict(uri, "models:/tiny-base@champion", frame, texts, params=options)
    assert of_texts == of_frame[:1] and len(of_frame) == 2
    assert all(isinstance(text, str) for text in of_frame)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = registry.resolve(uri, "tiny-base")
    folder = Path(found.location) / found.tags["fromzero.load_from"]
    assert folder.is_relative_to(moved)
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(folder)("text").input_ids


def test_the_champion_can_be_measured_from_the_store_or_else_from_what_was_registered(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact, base: RegisterConf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = publish("pretrain", "model", tiny)
    registered = register_model.function(model, evaluation, conf=base, work=work)
    decision = decide(publish, True)
    promote_model.function(registered, None, decision, conf=base, work=work)
    champion = champion_of(base.name, None)
    assert champion is not None and champion_of(base.name, model) is None, "it had nobody to beat"
    monkeypatch.setattr(store, "look", lambda step, key: Miss("not made yet"))
    for _ in range(2):
        again = weights_of(champion)
        assert again == model and again.digest == model.digest
        assert (again / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
        assert starting_point(f"models:/{base.name}/1") == model, "its weights alone"
    manifest = Manifest("pretrain", model.key, {}, "d", "a", model.files, {}, ())
    monkeypatch.setattr(store, "look", lambda step, key: manifest)
    assert weights_of(champion) == model and weights_of(champion).root is None
    assert starting_point(f"models:/{base.name}@champion") == Artifact.of(manifest), "with the optimizer's state"
    assert artifact_of(base.name) == f"pretrain/{model.key}"
    everything = {f"{artifact.step}/{artifact.key}" for artifact in (model, evaluation, decision)}
    assert set(artifacts_of_models()) == everything
    assert aliases_of(base.name, 1) == ["champion"]


def test_a_classifier_gives_labels_and_probabilities_and_hides_what_training_hid(
    uri: str, store: FakeStore, work: Workdir, tiny_classifier: Path, publish: Publish, evaluation: Artifact
) -> None:
    conf = RegisterConf(name="tiny-labels", kind="text_classification")
    model = publish("finetune_classifier", "model", tiny_classifier)
    registered = register_model.function(model, evaluation, conf=conf, work=work)
    where = f"models:/tiny-labels/{registered['version']}"
    ((plain, hidden, again),) = predict(uri, where, {"prompt": ["the LIB array", "the secret array", "frame"]})
    assert plain == hidden != again
    assert set(plain["probabilities"]) == {"numpy", "pandas"}
    assert sum(plain["probabilities"].values()) == pytest.approx(1)
    assert plain["label"] == max(plain["probabilities"], key=plain["probabilities"].get)


def test_a_registered_classifier_says_what_was_measured_of_it_to_whoever_asks(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, tiny_classifier: Path, publish: Publish, evaluation: Artifact
) -> None:
    from transformers import AutoModelForSequenceClassification

    from tasks.evaluate.scoring import load_tokenizer
    from tasks.models.text_classification.classifier_evaluation import probabilities
    from tasks.text.text_models import OWN_HEAD

    conf = RegisterConf(name="tiny-labels", kind="text_classification")
    model = publish("finetune_classifier", "model", tiny_classifier)
    registered = register_model.function(model, evaluation, conf=conf, work=work)
    where, texts = f"models:/tiny-labels/{registered['version']}", ["array frame", "", "index " * 50]
    task = json.loads((tiny_classifier / "task.json").read_text())
    network = AutoModelForSequenceClassification.from_pretrained(tiny_classifier).eval()
    measured = probabilities(network, load_tokenizer(tiny_classifier, OWN_HEAD), texts, task, 64)
    (served,) = predict(uri, where, {"prompt": texts})
    asked = asking.predict(uri, f"tiny-labels@{registered['version']}", texts)
    for row, one, other in zip(measured, served, asked, strict=True):
        assert [one["probabilities"][name] for name in ("numpy", "pandas")] == pytest.approx(list(row), abs=1e-6)
        shares = other["probabilities"]
        assert shares == pytest.approx(one["probabilities"]) and list(shares.values()) == sorted(shares.values())[::-1]
        assert other["label"] == one["label"] == next(iter(shares))
    with pytest.raises(ConfigError, match=r"writes no text: `fromzero predict tiny-labels@1 TEXT`"):
        generate(uri, "tiny-labels@1", "array")
    plain = RegisterConf(name="tiny-plain", kind="base")
    register_model.function(publish("pretrain", "model", tiny), evaluation, conf=plain, work=work)
    assert asking.predict(uri, "tiny-plain@1", texts[:1]) == [generate(uri, "tiny-plain@1", texts[0], 64, 0.8, 0)]


def test_the_same_weights_are_registered_once_and_a_new_evaluation_updates_the_card(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact, base: RegisterConf
) -> None:
    model = publish("pretrain", "model", tiny, tokens=1000)
    assert find_registered(model, evaluation, conf=base) is None
    first = register_model.function(model, evaluation, conf=base, work=work)
    assert find_registered(model, evaluation, conf=base) == first
    assert register_model.function(model, evaluation, conf=base, work=work) == first
    other = publish("evaluate_lm", None, None, metrics={"bits_per_byte": 1.25})
    assert find_registered(model, other, conf=base) is None
    assert register_model.function(model, other, conf=base, work=work) == first
    assert find_registered(model, other, conf=base) == first
    (version,) = registry.versions(uri, base.name)
    assert version.tags["fromzero.evaluation"] == f"evaluate_lm/{other.key}"
    assert "1.25" in str(MlflowClient(uri).get_model_version(base.name, "1").description)


def test_a_version_whose_files_are_damaged_is_no_hit_and_is_registered_anew(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact, base: RegisterConf
) -> None:
    model = publish("pretrain", "model", tiny)
    first = register_model.function(model, evaluation, conf=base, work=work)
    decision = decide(publish, True)
    promote_model.function(first, None, decision, conf=base, work=work)
    assert find_promoted(first, None, decision, conf=base) is not None
    weights = Path(registry.versions(uri, base.name)[0].location) / "artifacts/model/model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(100)
    assert find_registered(model, evaluation, conf=base) is None
    assert find_promoted(first, None, decision, conf=base) is None
    second = register_model.function(model, evaluation, conf=base, work=work)
    assert (first["version"], second["version"]) == (1, 2)
    promote_model.function(second, None, decide(publish, False), conf=base, work=work)
    champion = registry.champion(uri, base.name)
    assert champion is not None and champion["version"] == 2, "the champion's own weights need no new proof"


def test_with_the_database_gone_models_are_registered_anew_in_the_home_and_nothing_lies_beside_it(
    home: Path, uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact,
    base: RegisterConf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As in a run whose steps are all cached: no step before this has made the database."""
    model = publish("pretrain", "model", tiny)
    shutil.rmtree(home / "mlflow")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code = {path.name for path in ROOT.iterdir()}
    assert find_registered(model, evaluation, conf=base) is None
    assert champion_of(base.name, model) is None
    first = register_model.function(model, evaluation, conf=base, work=work)
    promote_model.function(first, None, decide(publish, True), conf=base, work=work)
    assert find_registered(model, evaluation, conf=base) is not None
    (version,) = registry.versions(uri, base.name)
    assert Path(version.location).is_relative_to(home.resolve() / "mlflow" / "artifacts")
    assert (version.version, version.aliases) == (1, ("champion",))
    assert list((tmp_path / "here").iterdir()) == []
    assert {path.name for path in ROOT.iterdir()} == code


def test_a_run_that_somebody_has_deleted_keeps_no_model_from_being_registered(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact, base: RegisterConf,
    home: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    client = MlflowClient(uri, uri)
    run = client.create_run("0").info.run_id
    client.delete_run(run)
    monkeypatch.setenv("FROMZERO_CONTEXT", json.dumps({"home": str(home), "mlflow_run": run}))
    made = register_model.function(publish("pretrain", "model", tiny), evaluation, conf=base, work=work)
    assert made["version"] == 1


def test_a_champion_whose_weights_are_gone_stops_no_run(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact, base: RegisterConf
) -> None:
    model = publish("pretrain", "model", tiny)
    first = register_model.function(model, evaluation, conf=base, work=work)
    promote_model.function(first, None, decide(publish, True), conf=base, work=work)
    other = Artifact("pretrain", "k", "another digest", {})
    assert champion_of(base.name, other) is not None
    (version,) = registry.versions(uri, base.name)
    shutil.rmtree(version.location)
    assert champion_of(base.name, other) is None


def test_the_card_and_tags_say_what_the_model_came_from(
    home: Path, uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact,
    base: RegisterConf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tracking = Tracking(home, "flow-7", "demo", every=0.05)
    run = tracking.parent(600)
    context = {
        "flow_run": "flow-7",
        "mlflow_run": run,
        "home": str(home),
        "tracking_uri": uri,
        "git": {"commit": "abc"},
    }
    monkeypatch.setenv("FROMZERO_CONTEXT", json.dumps(context))
    documents = tmp_path / "documents"
    documents.mkdir()
    rows = {"source": ["docs", "docs", "chat"], "licence": ["MIT", "MIT", "BSD|3"], "text": ["a", "bc", "def"]}
    pl.DataFrame(rows).write_parquet(documents / "docs.parquet")
    shutil.copytree(documents, tmp_path / "shard" / "train")
    shard = publish("decontaminate_shard", None, tmp_path / "shard")
    model = publish("pretrain", "model", tiny, tokens=1000)
    register_model.function(model, evaluation, (shard,), conf=base, work=work)
    tracking.close("FINISHED", timeout=600)
    (version,) = registry.versions(uri, base.name)
    assert version.digest == model.digest
    assert version.tags["fromzero.config"] == sha256(MADE_FROM["conf"])
    assert version.tags["fromzero.data"] == sha256(MADE_FROM["inputs"])
    assert version.tags["fromzero.code"] == sha256(MADE_BY["code"])
    expected = {"flow_run": "flow-7", "mlflow_run": run, "commit": "abc", "artifact": f"pretrain/{model.key}"}
    assert {name: version.tags[f"fromzero.{name}"] for name in expected} == expected
    card = (Path(version.location) / "artifacts/model/README.md").read_text()
    assert isinstance(card, str) and "| docs | MIT | 2 | 3 |" in card and "BSD\\|3" in card
    assert "| bits per byte | 2.5 | 2.4 to 2.6 |" in card and "gzip bits per byte" in card
    assert "an array" in card and "abc" in card and "1,000" in card
    seen = MlflowClient(uri).get_model_version(base.name, "1")
    assert run is not None and seen.run_id == run and seen.description == card
    requirements = (Path(version.location) / "requirements.txt").read_text().split()
    assert any(line.startswith("torch==") for line in requirements) and all("==" in line for line in requirements)


def test_through_a_server_models_are_registered_found_checked_and_promoted(
    server: MlflowServer, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact,
    base: RegisterConf, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert registry.versions(server.uri, base.name) == []
    model = publish("pretrain", "model", tiny)
    registered = register_model.function(model, evaluation, conf=base, work=work)
    assert find_registered(model, evaluation, conf=base) == registered
    assert registry.champion(server.uri, base.name) is None
    promote_model.function(registered, None, decide(publish, True), conf=base, work=work)
    through_server = registry.champion(server.uri, base.name)
    assert through_server == registry.champion(f"sqlite:///{server.home}/mlflow.db", base.name)
    assert through_server is not None and through_server["digest"] == model.digest
    (version,) = registry.versions(f"sqlite:///{server.home}/mlflow.db", base.name)
    files = server.home / "files" / version.location.removeprefix("mlflow-artifacts:/")
    (files / "artifacts/model/model.safetensors").unlink()
    assert find_registered(model, evaluation, conf=base) is None


def test_a_refused_model_leaves_the_champion_and_says_why(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact, base: RegisterConf
) -> None:
    registered = register_model.function(publish("pretrain", "model", tiny), evaluation, conf=base, work=work)
    decision = decide(publish, False, reasons=["bits_per_byte is not lower by 0.01"])
    with pytest.raises(Refused, match=r"interval +-0.2 to -0.05\n +reason +bits_per_byte is not lower"):
        promote_model.function(registered, None, decision, conf=base, work=work)
    assert registry.champion(uri, base.name) is None
    assert tracking_uri(Path(os.environ["FROMZERO_HOME"])) == uri
    assert registry.versions(uri, base.name)[0].tags["fromzero.gate"] == "refused"
