"""`make setup` with stand-ins for Python and pip: too old, interrupted, half made, done."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-torch.txt", "requirements-dev.lock")
PYTHON = """#!/bin/sh
case "$1 $2" in
"--version "*) echo "Python $FAKE" ;;
"-m venv") echo "venv $*" >> log; rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python
           printf '#!/bin/sh\\necho "fromzero $*" >> log\\n' > .venv/bin/fromzero; chmod +x .venv/bin/fromzero ;;
"-m pip") echo "pip" >> log; exec ${PIP:-true} ;;
"-c "*) test "$FAKE" != 3.9.2 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, and a python3 that only writes down what it is asked."""
    for name in ("Makefile", "pyproject.toml", *(f"infra/{lock}" for lock in LOCKS)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(PYTHON)
    (tmp_path / "bin" / "python3").chmod(0o755)
    return tmp_path


def make(checkout: Path, python: str = "3.12.1", **env: str) -> tuple[int, str, list[str]]:
    """`make setup`: its exit code, what it said on stderr, and what it did."""
    (checkout / "log").unlink(missing_ok=True)
    path = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["make", "setup"], cwd=checkout, env={**os.environ, "PATH": path, "FAKE": python, **env},
        capture_output=True, text=True,
    )  # fmt: skip
    log = checkout / "log"
    return (
        ran.returncode,
        ran.stderr,
        [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else [],
    )


def test_an_old_python_is_refused_before_anything_is_made(checkout: Path) -> None:
    code, said, did = make(checkout, python="3.9.2")
    assert code == 2 and "fromzero needs Python 3.11 or newer; python3 is Python 3.9.2" in said
    assert "make setup PYTHON=python3.11" in said
    assert did == [] and not (checkout / ".venv").exists()


def test_an_interrupted_installation_starts_anew_and_a_whole_one_is_left_alone(checkout: Path) -> None:
    assert make(checkout, PIP="false")[0] == 2
    assert not (checkout / ".venv" / "installed").exists()
    assert make(checkout)[2] == ["venv", "pip", "pip", "pip", "fromzero"], "what pip left half done is not built upon"
    assert make(checkout)[2] == ["fromzero"]
    os.utime(checkout / "infra" / "requirements.lock", (2**32, 2**32))
    assert make(checkout)[2] == ["pip", "pip", "pip", "fromzero"], "new requirements come into the same environment"


def test_a_virtual_environment_without_pip_is_made_again(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (checkout / ".venv" / "bin" / "python").chmod(0o755)
    code, _, did = make(checkout)
    assert (code, did) == (0, ["venv", "pip", "pip", "pip", "fromzero"])


def test_every_module_that_a_target_runs_is_there_and_every_target_is_named_phony() -> None:
    text = (ROOT / "Makefile").read_text()
    ours = re.findall(r"-m (tests\.[\w.]+)", text)
    assert "tests.benchmarks.pretrain_gpu" in ours and "tests.benchmarks.pretrain_quality" in ours
    assert [module for module in ours if find_spec(module) is None] == []
    targets = set(re.findall(r"^([a-z][\w-]*):", text, re.M))
    assert targets == set(re.search(r"^\.PHONY: (.*)", text)[1].split())  # type: ignore[index]
