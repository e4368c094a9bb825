"""The rooms and their doors, checked over the import graph."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = sorted(path.parent.name for path in (ROOT / "tasks").glob("*/steps.py"))


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files("flows"), ids=label)
def test_flows_import_no_torch_and_no_pandas_and_of_a_stage_only_its_door(path: Path) -> None:
    for name in imports(path):
        assert name.split(".")[0] not in ("torch", "pandas", "polars", "transformers", "mlflow"), name
        if name.startswith("tasks.") and name.split(".")[1] in STAGES:
            assert name.split(".")[2:3] == ["steps"], name


@pytest.mark.parametrize("path", files("tasks"), ids=label)
def test_only_the_engine_imports_prefect(path: Path) -> None:
    if path.stem not in ("engine", "prefect_run", "prefect_store"):
        assert not [name for name in imports(path) if name.split(".")[0] == "prefect"]


@pytest.mark.parametrize("path", files("tasks"), ids=label)
def test_stages_do_not_import_each_other_and_the_shared_rooms_import_no_stage(path: Path) -> None:
    own = path.relative_to(ROOT / "tasks").parts[0]
    for name in imports(path):
        if name.startswith("tasks."):
            other = name.split(".")[1]
            assert other in ("core", "text", "models", own), f"{label(path)} imports {name}"


def test_every_stage_of_the_design_has_its_door() -> None:
    assert STAGES == ["clean", "collect", "evaluate", "finetune", "pretrain", "register", "tokenize", "validate"]


@pytest.mark.parametrize("path", [*files("flows"), *files("tasks"), *files("conf")], ids=label)
def test_only_one_place_knows_how_a_python_of_ours_is_started(path: Path) -> None:
    lists = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.List)]
    started = [node for node in lists if node.elts and ast.unparse(node.elts[0]) == "sys.executable"]
    assert not started or path == ROOT / "tasks/core/interpreter.py"
