"""Models of the hub as starts, on a small server of this machine that answers as the hub's API does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.tasks.finetune.families import write_family
from tests.tasks.finetune.hub_server import Hub, hub

__all__ = ["hub"]
NOWHERE = "http://127.0.0.1:9"
"""Where nobody listens."""
PROGRAM = """
import json, sys
from pathlib import Path
from tasks.core.errors import FromzeroError
from tasks.core.plan.planner import Planner
from tasks.core.step import interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.finetune.steps import open_model
from tests.in_process import InProcess
store, said = Store(LocalBackend(Path(sys.argv[1]) / "store")), []
for words in sys.argv[2:]:
    how, start = words.split(" ")
    interpreter = Planner(store, looks_in=True) if how == "plan" else InProcess(store)
    try:
        with interpreted_by(interpreter):
            made = open_model(start, "own", ("causal",), "chat", True)
        row = interpreter.rows[0] if how == "plan" else None
        said.append(
            {"action": row.action, "said": row.foreseen, "estimate": row.estimate, "warnings": row.warnings}
            if row else {"made": interpreter.made, "digest": made.part("model").digest, **made.stats}
        )
    except FromzeroError as error:
        said.append({"error": type(error).__name__, "says": str(error)})
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_family(tmp_path_factory.mktemp("open") / "tiny", "llama")
    (folder / "README.md").write_text("---\nlicense: llama3\nbase_model: own/big\n---\n")
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    return folder


def said(folder: Path, env: dict[str, str], *words: str) -> list[dict[str, Any]]:
    """What plans and runs of starts say, one after the other in a process of its own."""
    (folder / "home").mkdir(exist_ok=True)
    command = [sys.executable, "-c", PROGRAM, str(folder), *words]
    done = subprocess.run(
        command, env=env | {"FROMZERO_HOME": str(folder / "home")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_branch_is_the_commit_that_it_is_now_and_a_moved_one_is_fetched_again(
    hub: Hub, written: Path, tmp_path: Path
) -> None:
    first = hub.put("own/tiny", written, "main", "v1")
    hub.counts, env = False, hub.env(tmp_path)
    plan, made, again, pinned, branch = said(
        tmp_path, env, "plan hub:own/tiny", "run hub:own/tiny", "plan hub:own/tiny@main", f"plan hub:own/tiny@{first}",
        "plan hub:own/tiny@v1",
    )  # fmt: skip
    assert plan["action"] == "run" and plan["estimate"]["parameters"] == 15568
    assert plan["said"].startswith(f"hub:own/tiny (commit {first}): LlamaForCausalLM, 15,568 parameters, ")
    assert plan["said"].endswith("licence llama3, made from own/big")
    assert made["origin"]["start"] == f"hub:own/tiny@{first}" and made["origin"]["licence"] == "llama3"
    assert {again["action"], pinned["action"], branch["action"]} == {"hit"}
    fetched = {path.rpartition("/")[2] for method, path, _ in hub.asked if "/resolve/" in path}
    assert "model.safetensors" in fetched and "pytorch_model.bin" not in fetched
    other = shutil.copytree(written, tmp_path / "other")
    (other / "generation_config.json").write_text("{}")
    second = hub.put("own/tiny", other, "main")
    moved, old = said(tmp_path, env, "plan hub:own/tiny@main", "plan hub:own/tiny@v1")
    assert moved["action"] == "run" and second in moved["said"]
    assert old["action"] == "hit" and first in old["said"]


def test_without_a_network_what_the_store_holds_is_a_hit_and_all_else_one_error_with_the_way_out(
    hub: Hub, written: Path, tmp_path: Path
) -> None:
    commit = hub.put("own/tiny", written, "main")
    said(tmp_path, hub.env(tmp_path), "run hub:own/tiny")
    for away in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": NOWHERE}):
        env = hub.env(tmp_path, **away)
        branch, pinned, unknown = said(
            tmp_path, env, "plan hub:own/tiny", f"plan hub:own/tiny@{commit}", "plan hub:own/tiny@v2"
        )
        assert branch["action"] == pinned["action"] == "hit" and pinned["warnings"] == []
        (warned,) = branch["warnings"]
        assert f"is taken for what it was when it was looked at last: hub:own/tiny@{commit}; " in warned["text"]
        assert unknown["error"] == ("Offline" if "HF_HUB_OFFLINE" in away else "Transient")
        why = "the hub is not asked while HF_HUB_OFFLINE" if "HF_HUB_OFFLINE" in away else "the hub cannot be reached"
        assert unknown["says"].startswith(f"models.own.start=hub:own/tiny@v2: {why}")
        advice = "run `hf download own/tiny --revision v2 --local-dir tiny`, bring the folder here and set "
        assert unknown["says"].endswith(f"{advice}models.own.start=./tiny")
        shutil.move(tmp_path / "store" / "fetch_model", tmp_path / "kept")
        (gone,) = said(tmp_path, env, f"plan hub:own/tiny@{commit}")
        assert "the store does not hold this model" in gone["says"] and "set models.own.start=./tiny" in gone["says"]
        shutil.move(tmp_path / "kept", tmp_path / "store" / "fetch_model")


def test_a_download_that_broke_off_is_gone_on_with(hub: Hub, written: Path, tmp_path: Path) -> None:
    large = shutil.copytree(written, tmp_path / "large")
    save_file({"weights": torch.arange(5_000_000, dtype=torch.float32)}, large / "model.safetensors")
    hub.put("own/large", large, "main")
    hub.cut_after = 15_000_000
    (broken,) = said(tmp_path, hub.env(tmp_path), "run hub:own/large")
    assert broken["error"] == "Transient" and broken["says"].startswith("models.own.start=hub:own/large: the hub ")
    hub.down, before = False, len(hub.asked)
    (made,) = said(tmp_path, hub.env(tmp_path), "run hub:own/large")
    asked = [part for method, path, part in hub.asked[before:] if path.endswith(".safetensors") and method == "GET"]
    assert asked == [f"bytes={10 << 20}-"], "what was whole of it is not sent again"
    held = tmp_path / "store" / "fetch_model"
    (file,) = held.glob("*/*/content/model/model.safetensors")
    assert file.read_bytes() == (large / "model.safetensors").read_bytes() and made["parameters"] == 5_000_000


def test_gated_missing_and_unfit_models_are_refused_before_anything_is_fetched(
    hub: Hub, written: Path, tmp_path: Path
) -> None:
    hub.put("own/tiny", written, "main")
    unfit = shutil.copytree(written, tmp_path / "unfit")
    config = json.loads((unfit / "config.json").read_text())
    (unfit / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"], "model_type": "bert"}))
    hub.put("own/encoder", unfit, "main")
    words = ["plan hub:own/none", "plan hub:own/tiny@v9", "plan hub:own/encoder"]
    none, revision, encoder = said(tmp_path, hub.env(tmp_path), *words)
    assert "models.own.start=hub:own/none: is not on the hub: write OWNER/NAME (HF_TOKEN" in none["says"]
    assert "has no revision v9 on the hub: name a branch, tag or commit of it" in revision["says"]
    assert "is a BertModel, an encoder, and a model of kind chat is made from a causal" in encoder["says"]
    hub.token = "hf_let_me_in"
    (locked,) = said(tmp_path, hub.env(tmp_path), "plan hub:own/tiny")
    assert "is gated: accept its conditions on its page of the hub, and export HF_TOKEN" in locked["says"]
    assert not [path for _, path, _ in hub.asked if path.endswith("model.safetensors") and "encoder" in path]
    (let_in,) = said(tmp_path, hub.env(tmp_path, HF_TOKEN="hf_let_me_in"), "run hub:own/tiny")
    assert let_in["made"] == ["fetch_model[own]"]
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_let_me_in" in path.read_bytes()]
    assert kept == [], "a token is stored nowhere"
