"""infra/Dockerfile: by hadolint, and what it says beside the files that it builds from."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.dockerfile import DOCKERFILE, image, instructions
from tests.test_layout import ROOT


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([Path(sys.executable).parent / "hadolint", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_fixed_the_user_is_nobody_special_and_it_says_whether_it_lives() -> None:
    found = image()
    ((_, base),) = [one for one in instructions() if one[0] == "FROM"]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    assert re.fullmatch(r"\d{5}:\d{5}", found.user)
    assert [name for name, _ in instructions()].index("USER") < [name for name, _ in instructions()].index("CMD")
    assert found.health[0] == "python" and "HEALTH" in found.environ
    assert found.entrypoint == ["tini", "--"], "tests/infra/containers.py does as it does"
    assert found.environ["FROMZERO_HOME"] in found.volumes


def test_it_installs_what_make_setup_installs_each_in_a_layer_of_its_own() -> None:
    steps = [text for name, text in instructions() if name == "RUN" and "pip install" in text]
    made = (ROOT / "Makefile").read_text()
    assert len(steps) == 3
    for step, given in zip(steps, re.findall(r"^\t\$\(INSTALL\) (.*)$", made, re.MULTILINE)[:3], strict=True):
        expected = given.replace("-r infra/", "--requirement /infra/").replace("--editable .", "/source")
        assert f"pip install {expected}" in step
        assert "--mount=type=cache,target=/root/.cache/pip" in step, "no cache stays in the layer"


@pytest.mark.parametrize("device", ["cpu", "cuda", "abacus"])
def test_torch_is_of_the_device_and_another_device_is_refused(device: str, tmp_path: Path) -> None:
    (step,) = [text for name, text in instructions() if name == "RUN" and "case" in text]
    script = re.sub(r"--mount=\S+ ", "", step)
    (tmp_path / "pip").write_text('#!/bin/sh\necho "pip $*"\n')
    (tmp_path / "pip").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DEVICE": device}
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environ)
    if device == "abacus":
        assert done.returncode == 2 and "DEVICE is cpu or cuda, not abacus" in done.stderr
    else:
        assert done.stdout.startswith("pip install --requirement /infra/requirements-torch.txt")
        assert done.stdout.rstrip().endswith("/cpu") == (device == "cpu")


def test_the_build_sees_what_is_installed_and_nothing_of_a_home_or_a_secret() -> None:
    lines = (ROOT / "infra" / "Dockerfile.dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert {name for name in let_in if not (ROOT / name).exists()} == set()
    packages = re.search(r"packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text())
    assert packages is not None
    needed = {*re.findall(r'"(\w+)"', packages[1]), "pyproject.toml", "README.md", "LICENSE"}
    read = {f"infra/{name}" for name in re.findall(r"/infra/([\w.-]+)", DOCKERFILE.read_text())}
    assert let_in == needed | read
