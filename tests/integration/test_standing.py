"""In a folder whose files have the names of our modules, of libraries and of settings: the command, `up`, a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core import interpreter
from tasks.core.services import prefect_api
from tests import one_secret
from tests.integration.test_walk import Up
from tests.pipeline_process import ROOT, House, Started, copied, eventually, finished, write_texts

HOSTILE = "raise SystemExit(f'{__file__} was imported')"
MODULES = ("tasks", "conf", "flows", "torch", "json", "prefect", "mlflow", "click", "sitecustomize")
SETTINGS = {
    ".env": "PREFECT_API_AUTH_STRING=another:secret\nPREFECT_PROFILES_PATH=/nowhere\n",
    "prefect.toml": '[api]\nurl = "http://127.0.0.1:9/api"\nkey = "of another server"\n[server.database]\n'
    'connection_url = "sqlite+aiosqlite:////nowhere/another.db"\n',
    "pyproject.toml": "[tool.prefect.flows]\nheartbeat_frequency = 1\n[tool.prefect.client]\nmax_retries = 0\n",
    "matplotlibrc": "text.usetex: True\n",
}


def write_hostile(folder: Path) -> Path:
    """A folder as somebody may have it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        (folder / f"{name}.py").write_text(HOSTILE)
    (folder / "great_expectations").mkdir()
    (folder / "great_expectations" / "__init__.py").write_text(HOSTILE)
    for name, text in SETTINGS.items():
        (folder / name).write_text(text)
    (folder / "texts").mkdir()
    write_texts(folder / "texts" / "a.jsonl", seed=1)
    sources = {"mine": {"kind": "files", "paths": ["texts"]}}
    (folder / "mine.yaml").write_text(f"extends: text\ndata: {{sources: {json.dumps(sources)}}}\n")
    return folder


class Standing(House):
    """The command as it is installed, given in the hostile folder."""

    def start(self, verb: str, *words: str, env: dict[str, str] | None = None, **options: object) -> Started:
        log = self.folder.parent / f"stderr-{len(list(self.folder.parent.iterdir()))}"
        command = [sys.executable, "-P", "-m", "flows.cli.main", verb, *words]
        return Started(command, self.folder, self.env(**(env or {})), log)


def standing(folder: Path, url: str | None) -> Standing:
    found = write_hostile(folder / "here")
    return Standing(found, one_secret.give(folder / "a home"), ROOT, Path("mine.yaml"), found / "texts", url)


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "words", [("-m", "tasks.core.engine.child_process"), ("-c", "import tasks.core.engine.child_process, json, click")]
)
def test_a_python_of_ours_imports_nothing_from_the_folder_where_it_is_started(
    tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_hostile(tmp_path / "here")
    monkeypatch.chdir(folder)
    for given in (None, "", ".", f"{os.pathsep}{ROOT}", f"{folder}{os.pathsep}", f"nothing{os.pathsep}./"):
        monkeypatch.setenv("PYTHONPATH", given) if given is not None else monkeypatch.delenv("PYTHONPATH", False)
        done = subprocess.run(
            interpreter.command(*words), env=interpreter.environment(), capture_output=True, text=True
        )
        assert "was imported" not in done.stderr
        assert ("TypeError: main() missing" in done.stderr) == (words[0] == "-m"), done.stderr


def test_what_is_not_the_folder_where_a_person_stands_stays_in_the_search_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/opt/plugins", str(tmp_path), "", str(tmp_path / "sub")]))
    assert interpreter.environment()["PYTHONPATH"].split(os.pathsep) == [
        str(ROOT), "/opt/plugins", str(tmp_path / "sub"),
    ]  # fmt: skip


def test_the_command_does_not_heed_an_empty_entry_of_pythonpath(tmp_path: Path) -> None:
    for name in ("tasks", "conf", "prefect"):
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    script = tmp_path / "bin" / "fromzero"
    script.parent.mkdir()
    script.write_text("from flows.cli.main import main\nmain()\n")
    environ = {**os.environ, "PYTHONPATH": f"{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, script, "plan", "--help"], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_run_needs_nothing_of_the_folder_and_leaves_nothing_there(tmp_path: Path) -> None:
    """With a server of its own, which starts there."""
    house = standing(tmp_path, None)
    before, code = listing(house.folder), {path.name for path in ROOT.iterdir()}
    found = house.run("--until", "validate_corpus")
    assert found.json["state"] == "reached"
    assert listing(house.folder) == before
    assert {path.name for path in ROOT.iterdir()} == code
    assert {path.name for path in tmp_path.iterdir() if "stderr" not in path.name} == {"here", "a home"}


def test_processes_that_train_together_and_a_model_that_writes_need_nothing_of_the_folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = copied(finished(tmp_path_factory), tmp_path / "kept")
    there = Standing(write_hostile(tmp_path / "here"), kept.home, ROOT, kept.recipe, kept.texts, None)
    before = listing(there.folder)
    again = there.run("--until", "pretrain", "pretrain.run.processes=2", "pretrain.segments.main.tokens=8192")
    assert again.made() == {"pretrain"}
    written = there.say("generate", "tiny-base", "Return the", "-n", "8", "-t", "0").out
    assert written == kept.say("generate", "tiny-base", "Return the", "-n", "8", "-t", "0").out
    assert listing(there.folder) == before


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    found = Up(standing(tmp_path, None))
    found.house.say("up", *found.words)
    yield found
    found.house.start("down").wait(None)


def test_a_deployment_that_was_made_there_runs_on_the_worker(up: Up) -> None:
    folder = up.house.folder
    (folder / "button.yaml").write_text(json.dumps({"recipe": "mine.yaml", "until": "validate_corpus"}))
    before = listing(folder)
    up.house.say("deploy", "button.yaml")
    chosen = {"deployments": {"name": {"any_": ["button"]}}}
    (deployment,) = prefect_api.ask(up.api, "deployments/filter", chosen)
    run = prefect_api.ask(up.api, f"deployments/{deployment['id']}/create_flow_run", {})["id"]

    def state() -> str:
        return str(prefect_api.ask(up.api, f"flow_runs/{run}")["state_name"])

    assert eventually(lambda: state() in ("Completed", "Failed", "Crashed")), state()
    assert state() == "Completed", (up.house.home / "logs/services/worker.log").read_text()[-3000:]
    assert listing(folder) == before
