"""The help, and what a command does whose reader has gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli.main import HEADINGS, READER_GONE, main

ROOT = Path(__file__).parents[3]


def test_help_groups_every_command_under_a_heading() -> None:
    said = CliRunner().invoke(main, ["--help"]).output
    headings = [line.rstrip(":") for line in said.splitlines() if line.rstrip(":") in {*HEADINGS, "More"}]
    assert headings == list(HEADINGS)
    assert all(f"\n  {name} " in said for name in main.commands)


def test_help_fits_a_terminal_of_80_columns_uncut() -> None:
    said = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    assert all(len(line) <= 80 for line in said.splitlines())
    assert "..." not in said.partition("Every day")[2]


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_shows_an_example_of_itself(name: str) -> None:
    said = CliRunner().invoke(main, [name, "--help"]).output
    assert f"\n  fromzero {name}" in said or f'eval "$(fromzero {name}' in said


@pytest.mark.parametrize(
    "words",
    ["compare m 1 2 --resamples 0", "compare m 1 2 --confidence 95", "compare m 1 2 --confidence 1", "runs -n -1",
     "show pretrain -n -1", "generate m x -n 0", "chat m -t -1", "gc --keep-runs -1", "gc --days -1"],
)  # fmt: skip
def test_numbers_out_of_range_are_refused_with_the_range(words: str) -> None:
    ran = CliRunner().invoke(main, words.split())
    assert ran.exit_code == 2 and "is not in the range" in ran.stderr


def test_help_loads_nothing_heavy() -> None:
    program = "import sys; from flows.cli.main import main\ntry: main(['--help'])\nexcept SystemExit:\n\
    print([m for m in ('torch', 'prefect', 'mlflow', 'pydantic', 'rich', 'polars', 'hydra') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_output_that_nobody_reads_any_more_is_no_error(home: Path) -> None:
    logs = home / "logs/0f0f0f0f-0000-4000-8000-000000000abc"
    logs.mkdir(parents=True)
    (logs / "pretrain.log").write_text("a line of the log\n" * 100_000)
    command = [sys.executable, "-m", "flows.cli.main", "logs", "last"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == READER_GONE


INTERRUPTED_IN_PYDANTIC = """
import click, pydantic
from flows.cli.main import main

class Told(pydantic.BaseModel):
    @pydantic.model_serializer
    def told(self) -> dict:
        raise KeyboardInterrupt

@main.command()
def tell() -> None:
    Told().model_dump()

main(["tell"])
"""


def test_an_interrupt_of_which_pydantic_makes_an_error_is_one(home: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IN_PYDANTIC], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 130 and "interrupted" in ran.stderr and "error:" not in ran.stderr


SIGNALLED = """
import os, sys
from flows.cli.main import main

@main.command()
def tell() -> None:
    os.kill(os.getpid(), int(sys.argv[1]))

main(["tell"])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_signals_of_a_cluster_interrupt_as_ctrl_c_does(home: Path, number: signal.Signals) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(int(number))], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 130 and "Go on with the same command" in ran.stderr


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"label": "a", "probabilities": {"a": 0.9, "b": 0.1}}, "a 0.900  b 0.100"),
        ({"number": 2.532254219055176}, "2.53225"),
        ({"spans": [{"start": 2, "end": 5, "label": "PER", "text": "Ada"}]}, "PER 'Ada' at 2"),
        ({"spans": []}, "nothing"),
        ({"answer": "yes"}, "yes"),
    ],
)
def test_what_a_model_says_of_a_text_is_shown_in_a_line(
    row: dict[str, Any], said: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.register.steps.predict", lambda model, texts: [row])
    found = CliRunner().invoke(main, ["predict", "any", "a text"])
    assert found.exit_code == 0 and found.output.strip() == said
