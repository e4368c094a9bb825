"""What TAB offers, asked as a shell asks."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from conf.compose import compose, recipes
from flows.cli.main import main
from tests.mlflow_server import prepared_home

ROOT = Path(__file__).parents[3]


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    ctx = click.Context(main)
    complete = click.shell_completion.ShellComplete(main, {}, "fromzero", "_FROMZERO_COMPLETE")
    assert ctx.command is main
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_commands_and_recipes_are_offered() -> None:
    assert offered("do") == ["doctor", "down"]
    assert set(recipes()) <= set(offered("run", ""))


def test_options_are_offered_level_by_level_down_to_their_values() -> None:
    assert offered("run", "demo", "tok") == ["tokenizer.", "tokenizer="]
    assert offered("run", "demo", "tokenizer.vo") == ["tokenizer.vocab_size="]
    assert "pretrain.segments.main.tokens=" in offered("run", "demo", "pretrain.segments.main.t")
    assert {"data.sources.mine.paths=", "data.sources.mine.distributions="} <= set(
        offered("plan", "demo", "data.sources.mine.")
    )
    assert offered("run", "demo", "models=n") == ["models=none"]
    assert offered("run", "demo", "models.base.gate.rule=") == [
        "models.base.gate.rule=superior", "models.base.gate.rule=non_inferior",
    ]  # fmt: skip
    assert offered("run", "demo", "no.such.") == []


def test_every_option_that_is_offered_is_one() -> None:
    for name in ("evaluate.", "pretrain.run.", "data.dedup.", "engine."):
        for found in offered("run", "demo", name):
            if found.endswith("="):
                with pytest.raises(Exception, match=r"^(?!.*has no option)"):
                    compose("demo", (f"{found}[{{",))


def test_steps_and_stages_are_offered_as_the_flow_has_them() -> None:
    assert offered("run", "--until", "check_") == ["check_losses", "check_documents", "check_tokens"]
    assert offered("run", "--refresh", "clean") == ["clean", "clean_shard"]
    assert "promote_model" in offered("run", "--until", "")


def test_runs_are_offered_newest_first(home: Path) -> None:
    for name in ("20260101T000000-aaaa1111", "20260102T000000-bbbb2222"):
        path = home / "store/_runs" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert offered("logs", "") == ["last", "bbbb2222", "aaaa1111"]
    assert offered("diff", "aaaa1111", "b") == offered("report", "b") == ["bbbb2222"]


def test_artifacts_are_offered_by_step_and_behind_it_by_key(home: Path) -> None:
    for name in ("pretrain/0123456789abcdef", "clean_shard/ff", "_runs/x"):
        (home / "store" / name).mkdir(parents=True)
    assert offered("show", "") == offered("verify", "") == ["clean_shard", "pretrain"]
    assert offered("lineage", "pretrain/0") == ["pretrain/0123456789ab"]


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one registered model."""
    from mlflow import MlflowClient

    from tasks.core.tracking.mlflow_db import tracking_uri

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = prepared_home(tmp_path / "template", tmp_path / "home")
    client = MlflowClient(tracking_uri(home))
    client.create_registered_model("tiny-chat")
    client.create_model_version("tiny-chat", str(tmp_path))
    client.set_registered_model_alias("tiny-chat", "champion", "1")
    monkeypatch.setenv("FROMZERO_HOME", str(home))
    return home


def test_models_are_offered_with_aliases_and_versions_and_none_where_there_is_no_database(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert offered("chat", "tiny") == ["tiny-chat@champion", "tiny-chat@1"]
    assert offered("rollback", "") == ["tiny-chat"]
    assert offered("compare", "tiny-chat", "") == offered("compare", "tiny-chat", "1", "") == ["champion", "1"]
    assert "tiny-chat@champion" in offered("lineage", "tiny")
    monkeypatch.setenv("FROMZERO_HOME", str(tmp_path / "none"))
    assert offered("chat", "") == []


def test_a_database_that_cannot_be_read_offers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROMZERO_HOME", str(tmp_path / "100% ?#home"))
    (tmp_path / "100% ?#home/mlflow").mkdir(parents=True)
    file = tmp_path / "100% ?#home/mlflow/mlflow.db"
    file.write_bytes(b"torn" * 1000)
    assert offered("chat", "") == []
    file.unlink()
    with closing(sqlite3.connect(file)) as base:
        base.execute("CREATE TABLE registered_model_aliases (name, alias)")
        base.execute("CREATE TABLE model_versions (name, version, current_stage)")
        base.execute("INSERT INTO registered_model_aliases VALUES ('a', 'champion')")
        base.commit()
    assert offered("chat", "") == ["a@champion"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(shell: str) -> None:
    ran = CliRunner().invoke(main, ["completion", shell])
    assert ran.exit_code == 0 and "_FROMZERO_COMPLETE" in ran.stdout


IN_BASH = r"""
eval "$("$PYTHON" -c "from flows.cli.main import main; main(['completion', 'bash'])")"
fromzero() { "$PYTHON" -c "from flows.cli.main import main; main(prog_name='fromzero')"; }
env() { local -; set -a; while [[ $1 == *=* ]]; do export "$1"; shift; done; "$@"; }
compopt() { echo "compopt $*"; }
for COMP_LINE in "fromzero run demo tokenizer.vo" "fromzero run demo models=n" \
    "fromzero run demo models.base.gate.rule=" "fromzero run --until check_t" "fromzero chat tiny-chat@c"; do
    COMP_POINT=${#COMP_LINE}; _fromzero_completion fromzero; echo "${COMPREPLY[*]}"
done
"""
"""bash as it asks, with the command in place of an installed one."""


def test_bash_gets_the_part_behind_a_sign_at_which_it_cuts_words_and_no_space_before_a_value(registered: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", IN_BASH], env={**os.environ, "PYTHON": sys.executable}, cwd=ROOT, capture_output=True, text=True
    )
    assert ran.stdout.splitlines() == [
        "compopt -o nospace", "tokenizer.vocab_size=", "none", "superior non_inferior", "check_tokens", "@champion",
    ], ran.stderr  # fmt: skip


def test_a_shell_asks_a_process_of_its_own_which_loads_nothing_heavy(home: Path) -> None:
    program = "import sys; from flows.cli.main import main\ntry: main(prog_name='fromzero')\nfinally:\n\
    print([m for m in ('torch', 'prefect', 'mlflow', 'polars', 'hydra', 'pyarrow') if m in sys.modules])"
    asked = {"_FROMZERO_COMPLETE": "bash_complete", "COMP_WORDS": "fromzero run demo tokenizer.vo", "COMP_CWORD": "3"}
    ran = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **asked}, cwd=ROOT, capture_output=True, text=True
    )
    assert ran.stdout.splitlines() == ["plain,tokenizer.vocab_size=", "[]"]
