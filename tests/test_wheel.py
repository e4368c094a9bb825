"""What `pip install .` puts on a machine is all that the command needs: recipes, suites, templates."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layout import ROOT

SMALL = (
    "data.sources.packages.distributions=[click,networkx]", "data.sources.chat.max_conversations=40",
    "tokenizer.vocab_size=512", "models=none",
)  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the wheel's files."""
    out, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = out.glob("fromzero-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    return target


@pytest.fixture
def fromzero(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The command as it was installed, in an empty folder."""
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.setenv("FROMZERO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "empty").mkdir()

    def run(*words: str, python: tuple[str, ...] = ("-m", "flows.cli.main")) -> str:
        done = subprocess.run(
            [sys.executable, "-P", *python, *words], cwd=tmp_path / "empty", capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_the_command_of_the_wheel_knows_its_recipes_and_makes_tokens_with_them(fromzero, installed: Path) -> None:  # type: ignore[no-untyped-def]
    where = fromzero(python=("-c", "import flows, tasks, conf; print(flows.__file__, tasks.__file__, conf.__file__)"))
    assert where.count(str(installed)) == 3, "what is tested is the wheel"
    rows = json.loads(fromzero("plan", "demo", *SMALL, "--json"))["steps"]
    assert "pretrain" in {row["step"] for row in rows}
    ran = json.loads(fromzero("run", "demo", *SMALL, "--until", "check_tokens", "--json"))
    assert ran["state"] == "reached"
    report = Path(ran["urls"]["report"]).read_text()
    assert "<html" in report and "check_tokens" in report


def test_the_licence_and_the_command_are_in_the_wheel(installed: Path) -> None:
    (about,) = installed.glob("fromzero-*.dist-info")
    assert (about / "licenses/LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert "fromzero = flows.cli.main:main" in (about / "entry_points.txt").read_text()
