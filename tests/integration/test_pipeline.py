"""The whole chain through the command: only what changed runs again, and only a proven model is promoted."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.services import prefect_api
from tests.pipeline_process import (
    ROOT,
    WITHOUT_TUNING,
    House,
    Result,
    copy_tree,
    empty,
    eventually,
    first_run,
    label,
    write_texts,
)  # fmt: skip

STEPS = {
    "fetch_shard", "profile_shard", "validate_corpus", "split_shard", "clean_shard", "sign_shard", "cluster",
    "filter_shard", "freeze_evalset", "count_ngrams", "find_boilerplate", "decontaminate_shard", "check_losses",
    "check_documents", "train_tokenizer", "tokenize_shard", "check_tokens", "pretrain", "finetune_chat",
    "finetune_classifier", "evaluate_lm", "evaluate_chat", "evaluate_classifier", "register_model", "gate",
    "promote_model",
}  # fmt: skip
SHARDS = ("chat-000", "mine-000", "packages-000")
LOAD = """
import json, mlflow
model = mlflow.pyfunc.load_model("models:/tiny-base@champion")
print(json.dumps(model.predict(["Return the", "This"])))
"""


@pytest.fixture
def texts(whole: House) -> Iterator[Path]:
    """A second file of the source `mine`, which is not there; the first one stays as it is, for other tests need it."""
    new = whole.texts / "new.jsonl"
    yield new
    new.unlink(missing_ok=True)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def champion(house: House, name: str = "tiny-base") -> str:
    """STEP/KEY of a model's champion, as lineage shows it."""
    found = json.loads(house.say("lineage", f"{name}@champion", "--json").out)
    return f"{found['step']}/{found['key']}"


def test_the_first_run_makes_every_step_and_promotes_each_first_model(
    whole: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = first_run(tmp_path_factory).json
    assert {step["step"] for step in found["steps"]} == STEPS
    assert {step["state"] for step in found["steps"]} == {"completed"}
    assert {model["name"]: ("champion" in model["aliases"], model["version"]) for model in found["models"]} == {
        "tiny-base": (True, 1), "tiny-chat": (True, 1), "tiny-classifier": (True, 1),
    }  # fmt: skip
    assert [model["name"] for model in found["models"] if model["primary"]] == ["tiny-base"]
    assert {"bits_per_byte", "gzip_bits_per_byte"} <= set(found["metrics"]["evaluate_lm"])
    whole.whole()


def test_a_second_run_is_cached_throughout_in_json_and_in_prefect(house: House, prefect_url: str) -> None:
    first = first_states(house)
    again = house.run()
    assert again.made() == set()
    assert all(step["attempts"] == 0 or step["key"] is None for step in again.json["steps"])
    assert sorted((label(s), s["digest"]) for s in again.json["steps"] if s["key"]) == first
    of_run = {"flow_runs": {"id": {"any_": [again.json["run"]]}}}

    def states() -> list[str]:
        runs = prefect_api.ask(prefect_url, "task_runs/filter", of_run)
        return [run["state"]["name"] for run in runs if run["state"]]

    wanted = ["Cached"] * len(again.json["steps"])
    assert eventually(lambda: states() == wanted), f"the server records events as they come in: {states()}"
    assert again.json["state"] == "completed"


def first_states(house: House) -> list[tuple[str, str]]:
    """Each artifact's step with its shard, and its digest, from the manifests; the gate has made several."""
    steps = [path.name for path in (house.home / "store").iterdir() if not path.name.startswith("_")]
    return sorted((label(m), m["digest"]) for step in steps for m in house.manifests(step))


def test_a_plan_names_old_and_new_value_and_starts_nothing(house: House) -> None:
    assert house.plan().hits()
    before = snapshot(house.home)
    plan = house.plan("pretrain.segments.main.peak_lr=0.002")
    ((name, row),) = plan.to("run").items()
    assert name == "pretrain"
    assert row["reason"] == "segment.peak_lr: 0.003 → 0.002"
    assert row["estimate"]["tokens"] == 122880 and row["estimate"]["seconds"] > 0
    assert plan.to("hit").keys() >= {"check_tokens", "train_tokenizer", "fetch_shard[mine-000]"}
    assert plan.to("wait").keys() >= {"finetune_chat", "finetune_classifier", "evaluate_lm", "register_model", "gate"}
    plan = house.plan("data.clean.rules.min_words=9")
    assert plan.to("run").keys() == {f"clean_shard[{shard}]" for shard in SHARDS}
    assert plan.to("run")["clean_shard[mine-000]"]["reason"] == "rules.min_words: 8 → 9"
    assert plan.to("wait")["cluster"]["reason"].startswith("waits on ")
    assert snapshot(house.home) == before
    assert house.processes() == []


def test_a_comment_changes_nothing_and_a_rule_makes_clean_again_and_nothing_after_it(
    house: House, tmp_path: Path
) -> None:
    changed = replace(house, tree=copy_tree(tmp_path / "tree"))
    rules = changed.tree / "tasks/clean/rules.py"
    rules.write_text(rules.read_text().replace("def judge(", "# a remark\n\n\ndef judge("))
    assert changed.plan().hits()
    assert changed.run("--until", "clean_shard").made() == set()
    rules.write_text(rules.read_text().replace("REPEATED_NGRAM = 5", "REPEATED_NGRAM = 4 + 1"))
    cleaned = changed.plan().to("run")
    assert cleaned.keys() == {f"clean_shard[{shard}]" for shard in SHARDS}
    assert {row["reason"] for row in cleaned.values()} == {"code of tasks.clean.rules"}
    assert changed.run().made() == cleaned.keys()


def test_a_file_that_moves_changes_nothing(house: House, tmp_path: Path) -> None:
    changed = replace(house, tree=copy_tree(tmp_path / "tree"))
    (changed.tree / "tasks/text/words.py").rename(changed.tree / "tasks/clean/spelling.py")
    for path in changed.tree.rglob("*.py"):
        text = path.read_text().replace("from tasks.text import words", "from tasks.clean import spelling as words")
        path.write_text(text.replace("tasks.text.words", "tasks.clean.spelling"))
    assert changed.plan().hits()
    assert changed.run().made() == set()


def test_changed_training_code_is_adopted_or_rerun_only_when_somebody_says_so(house: House, tmp_path: Path) -> None:
    changed = replace(house, tree=copy_tree(tmp_path / "tree"))
    loop = changed.tree / "tasks/training/trainer/loop.py"
    loop.write_text(loop.read_text().replace("= self.conf.segment.steps\n", "= self.conf.segment.steps + 0\n"))
    reason = changed.plan().to("hit")["pretrain"]["reason"]
    assert "tasks.training.trainer.loop" in reason and "adopt or rerun" in reason
    refused = changed.run(code=2)
    assert "--on-code-change" in refused.err and "pretrain" in refused.err
    assert changed.plan("--on-code-change", "rerun").to("run").keys() == {"pretrain"}
    assert changed.run("--on-code-change", "adopt").made() == set()
    assert re.search(r"^ *pretrain .*adopted", changed.say("lineage", "tiny-base@champion").out, re.M)
    assert changed.run().made() == set()


def test_the_plan_names_whichever_artifact_is_damaged_and_that_one_only(house: House) -> None:
    assert house.plan().hits()
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    command = [sys.executable, "-P", str(ROOT / "tests/plan_damaged.py"), str(house.recipe), str(seed)]
    ran = subprocess.run(command, cwd=house.tree, env=house.env(), capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout)
    assert {entry["step"] for entry in found["damaged"]} == STEPS - {"register_model", "promote_model"}
    for entry in found["damaged"]:
        assert [(row["step"], row["shard"]) for row in entry["rows"]] == [(entry["step"], entry["shard"])], entry
        forgotten = entry["file"] == "manifest.json" and entry["how"] == "deleted"
        assert ("" if forgotten else entry["file"]) in entry["rows"][0]["reason"] != "", entry
    assert set(found["after"]) == {"hit"}


def test_a_damaged_step_a_deleted_model_and_a_lost_registered_version_are_each_made_again_alone(house: House) -> None:
    house.files("clean_shard", "mine-000")[0].unlink()
    assert house.run().made() == {"clean_shard[mine-000]"}
    digest = house.digest("pretrain")
    weights = next(path for path in house.files("pretrain") if path.name == "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    again = house.run()
    assert again.made() == {"pretrain"}
    assert house.digest("pretrain") == digest
    house.whole()


def test_a_registered_model_whose_files_are_gone_is_registered_again_and_nothing_else(house: House) -> None:
    house.plan()
    with closing(sqlite3.connect(house.home / "mlflow/mlflow.db")) as base:
        (place,) = base.execute("SELECT storage_location FROM model_versions WHERE name = 'tiny-chat'").fetchone()
    shutil.rmtree(place)
    found = house.run()
    registered = [step["state"] for step in found.json["steps"] if step["step"] == "register_model"]
    assert registered == ["cached", "completed", "cached"]
    assert found.made() <= {"register_model", "promote_model"}
    (chat,) = [model for model in found.json["models"] if model["name"] == "tiny-chat"]
    assert "champion" in chat["aliases"]
    assert house.run().made() == set()


def test_a_new_file_makes_its_own_shard_only_and_a_touched_one_is_fetched_and_no_more(
    house: House, texts: Path
) -> None:
    before = first_states(house)
    write_texts(texts, seed=2)
    grown = house.run("--until", "check_tokens")
    mapped = ("fetch", "profile", "split", "clean", "sign", "filter", "decontaminate", "tokenize")
    assert grown.made() == {f"{step}_shard[mine-001]" for step in mapped} | {
        "validate_corpus", "cluster", "count_ngrams[mine-001]", "find_boilerplate",
        "check_losses", "check_documents", "check_tokens",
    }  # fmt: skip
    after = first_states(house)
    assert {made for made in before if made[0].startswith("tokenize_shard")} <= set(after)
    os.utime(texts)
    assert house.run("--until", "check_tokens").made() == {"fetch_shard[mine-001]"}


def test_a_home_that_was_moved_still_hits_and_its_champion_loads_in_a_fresh_process(
    house: House, tmp_path: Path
) -> None:
    moved = replace(house, home=house.home.rename(tmp_path / "another place"))
    assert moved.plan().hits()
    environ = moved.env(MLFLOW_TRACKING_URI=f"sqlite:///{moved.home}/mlflow/mlflow.db")
    ran = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=900
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert [type(text) for text in json.loads(ran.stdout.splitlines()[-1])] == [str, str]


def test_a_home_restored_from_a_backup_hits_serves_its_champion_and_has_its_runs(whole: House, tmp_path: Path) -> None:
    folder, restored = tmp_path / "backup", replace(whole, home=tmp_path / "restored")
    said = whole.say("backup", str(folder), "--json").json
    assert said["databases"] == {"mlflow": "sqlite", "prefect": "sqlite"}
    kept = snapshot(folder / "files")
    assert whole.say("backup", str(folder), "--json").json["artifacts"] == said["artifacts"]
    assert kept.items() <= snapshot(folder / "files").items(), "what is there is not copied again"

    refused = whole.start("restore", str(folder)).wait(2)
    assert "records of its own" in refused.err and "new folder" in refused.err
    assert restored.say("restore", str(folder), "--json").json["artifacts"] == said["artifacts"]
    assert restored.plan().hits()
    restored.whole()
    asked = ("generate", "tiny-base@champion", "The", "--max-new-tokens", "3", "--seed", "1")
    assert restored.say(*asked).out == whole.say(*asked).out != ""
    for database, query in (
        ("prefect/prefect.db", "SELECT id, state_name FROM flow_run ORDER BY 1"),
        ("mlflow/mlflow.db", "SELECT name, alias, version FROM registered_model_aliases ORDER BY 1, 2"),
    ):
        before, after = (rows(house.home / database, query) for house in (whole, restored))
        assert before == after != []


def rows(file: Path, query: str) -> list[tuple[str, ...]]:
    """What a query of a SQLite file gives."""
    with closing(sqlite3.connect(file)) as base:
        return base.execute(query).fetchall()


def test_a_worse_model_is_refused_and_a_better_one_promoted_and_hands_move_the_champion(
    house: House, prefect_url: str
) -> None:
    first = champion(house)
    worse = house.run("pretrain.segments.main.tokens=8192", "pretrain.seed=7", *WITHOUT_TUNING, code=4)
    assert {step["state"] for step in worse.json["steps"] if step["step"] == "promote_model"} == {"refused"}
    assert worse.json["state"] == "refused"
    run = prefect_api.ask(prefect_url, "flow_runs/filter", {"flow_runs": {"id": {"any_": [worse.json["run"]]}}})[0]
    assert (run["state"]["type"], run["state"]["name"]) == ("COMPLETED", "Refused")
    assert champion(house) == first
    assert "gate" in house.say("promote", "tiny-base", "2", code=4).err
    house.say("promote", "tiny-base", "2", "--force")
    assert champion(house) != first
    house.say("rollback", "tiny-base")
    assert champion(house) == first
    better = house.run("pretrain.segments.main.tokens=245760", *WITHOUT_TUNING)
    (model,) = better.json["models"]
    assert (model["version"], "champion" in model["aliases"]) == (3, True)
    assert champion(house) != first
    assert house.run("pretrain.segments.main.tokens=245760", *WITHOUT_TUNING).made() == set()
    house.say("rollback", "tiny-base")
    assert champion(house) == first


def test_of_several_models_the_one_that_loses_to_its_baseline_is_refused_and_the_others_are_promoted(
    house: House, prefect_url: str
) -> None:
    names = [f"models.{kind}.register.name=new-{kind}" for kind in ("base", "chat", "classifier")]
    found = house.run(*names, "models.classifier.gate.floors=[majority,naive_bayes]", code=4).json
    assert found["state"] == "refused"
    assert [step["state"] for step in found["steps"] if step["step"] == "promote_model"].count("refused") == 1
    promoted = {model["name"]: "champion" in model["aliases"] for model in found["models"]}
    assert promoted == {"new-base": True, "new-chat": True, "new-classifier": False}
    (run,) = prefect_api.ask(prefect_url, "flow_runs/filter", {"flow_runs": {"id": {"any_": [found["run"]]}}})
    assert (run["state"]["type"], run["state"]["name"]) == ("COMPLETED", "Refused")
    assert run["state"]["message"].startswith("new-classifier version 1 is not promoted: it does not beat ")
    asked = json.loads(house.say("predict", "new-classifier@1", "add a node to the graph", "", "--json").out)
    assert [sum(one["probabilities"].values()) for one in asked] == pytest.approx([1, 1])


def test_bad_data_stop_before_training_and_name_a_page_that_is_there(whole: House, tmp_path: Path) -> None:
    house = replace(empty(whole, tmp_path), texts=tmp_path / "bad")
    house.texts.mkdir()
    rows = [json.dumps({"text": "\ufffd" * 40 + f" the broken harbour of the morning number {n}"}) for n in range(50)]
    (house.texts / "bad.jsonl").write_text("\n".join(rows))
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(f"extends: text\nname: bad\ndata: {{sources: {{mine: {{paths: ['{house.texts}']}}}}}}\n")
    bad = replace(house, recipe=recipe)
    found = bad.run(code=3)
    assert "replacement_share" in found.err
    named = re.search(r"(/\S.*index\.html)", found.err)
    assert named is not None and Path(named[1]).is_file(), found.err
    assert bad.manifests("validate_corpus") == [] and bad.manifests("pretrain") == []
    assert list((bad.home / "store/_work").glob("pretrain/*")) == []


def test_lineage_leads_from_the_champion_to_every_source(whole: House) -> None:
    lines = whole.say("lineage", "tiny-chat@champion").out
    assert lines.startswith("finetune_chat ")
    for shard in SHARDS:
        assert re.search(rf"^ +fetch_shard\[{shard}\] ", lines, re.M), lines


def test_show_prints_rows_and_what_was_dropped(whole: House) -> None:
    (clean,) = [m for m in whole.manifests("clean_shard") if m["shard"] == "packages-000"]
    assert '"uri"' in whole.say("show", f"clean_shard/{clean['key'][:12]}", "--part", "train", "-n", "2").out
    assert '"reason"' in whole.say("show", f"clean_shard/{clean['key'][:12]}", "--rejects").out
    assert "tokens" in whole.say("show", "pretrain").out


def test_verify_finds_one_flipped_byte(house: House) -> None:
    victim = next(path for path in house.files("pretrain") if path.name == "model.safetensors")
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    found = house.say("verify", code=1).out
    (line,) = [line for line in found.splitlines() if line.startswith("x ")]
    assert "pretrain/" in line and "model.safetensors" in line
    house.say("verify", "pretrain", code=1)
    house.say("verify", "train_tokenizer")


def test_garbage_collection_spares_what_models_and_runs_need(house: House) -> None:
    assert house.plan().hits()
    before = snapshot(house.home / "store")
    assert "would free 0.0 MB" in house.say("gc", "--dry-run", "--days", "0").out
    house.say("gc", "--days", "0")
    assert snapshot(house.home / "store").keys() >= {p for p in before if "/_" not in p}
    assert house.plan().hits()


def test_generate_continues_a_prompt_and_says_which_models_there_are(whole: House) -> None:
    said: list[Result] = [
        whole.say("generate", "tiny-base@champion", "Return the", "-n", "8", "-t", "0", "--seed", "1"),
        whole.say("generate", "tiny-base@1", "Return the", "-n", "8", "-t", "0"),
    ]
    assert said[0].out == said[1].out != ""
    assert "tiny-base" in whole.say("generate", "tinny-base@champion", "Return", code=2).err
