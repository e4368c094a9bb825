import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tasks.core.plan import fingerprint as code
from tasks.core.plan.fingerprint import normal
from tests.project_copy import ProjectCopy

SOURCE = '''
"""A module."""
import math

def f(x: int, *, y: int = 2) -> float:
    """A docstring."""
    # a comment
    return math.sqrt(x) + y
'''


def tree(source: str) -> object:
    return normal(ast.parse(textwrap.dedent(source)))


def test_comments_docstrings_and_layout_do_not_change_the_normal_form() -> None:
    bare = "import math\ndef f(x:int,*,y:int=2)->float: return (math.sqrt(x)+y)"
    assert tree(SOURCE) == tree(bare)


@pytest.mark.parametrize(("old", "new"), [("y: int = 2", "y: int = 3"), ("sqrt", "log"), ("x)", "-x)"), ("+ y", "- y")])
def test_a_change_of_meaning_changes_the_normal_form(old: str, new: str) -> None:
    assert tree(SOURCE) != tree(SOURCE.replace(old, new))


def test_true_and_one_are_different_constants() -> None:
    assert tree("x = 1") != tree("x = True") != tree("x = 1.0")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project of the same layout: steps.py → rules.py → deep.py, lazily and by a string."""
    stage = tmp_path / "tasks" / "stage"
    stage.mkdir(parents=True)
    for package in (tmp_path / "tasks", stage):
        (package / "__init__.py").write_text("")
    (stage / "steps.py").write_text(
        textwrap.dedent(
            """
            from tasks.core.step import step
            LIMIT = 3
            OTHER = 4

            @step()
            def one(conf, work):
                from tasks.stage import rules
                return rules.apply(LIMIT)

            @step()
            def two(conf, work):
                return {"run": "tasks.stage.worker"}
            """
        )
    )
    (stage / "rules.py").write_text("from tasks.stage.deep import helper\ndef apply(n): return helper(n)\n")
    (stage / "deep.py").write_text("def helper(n):\n    return n\n")
    (stage / "worker.py").write_text("print('working')\n")
    return stage


def fingerprint(stage: Path, name: str, *data: str, **fields: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Digest and parts of a step's code, in a fresh process whose project root is the small project."""
    script = f"""
import json, sys, types
from pathlib import Path
from tasks.core import step
from tasks.core.plan import fingerprint as code, source_code
root = Path({str(stage.parents[1])!r})
code.ROOT = source_code.ROOT = root
def function(): ...
function.__module__, function.__name__ = "tasks.stage.steps", {name!r}
found = code.fingerprint(step.Step(function, data={data!r}, **{fields!r}))
print(json.dumps([found.digest, found.parts]))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    digest, parts = json.loads(out.stdout)
    return digest, parts


def digests(stage: Path, name: str) -> dict[str, str]:
    """The parts alone."""
    return fingerprint(stage, name)[1]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_helper_three_files_away_counts(project: Path) -> None:
    before = digests(project, "one")
    assert set(before) == {"tasks.stage.steps", "tasks.stage.rules", "tasks.stage.deep"}
    edit(project / "deep.py", "return n", "return n + 1")
    after = digests(project, "one")
    assert {name for name in after if after[name] != before[name]} == {"tasks.stage.deep"}


def test_a_comment_anywhere_does_not_count(project: Path) -> None:
    before = digests(project, "one")
    for name in ("steps.py", "rules.py", "deep.py"):
        (project / name).write_text("# a comment\n" + (project / name).read_text())
    assert digests(project, "one") == before


def test_only_what_a_step_uses_of_its_own_module_counts(project: Path) -> None:
    before = digests(project, "one")
    edit(project / "steps.py", "OTHER = 4", "OTHER = 5")
    edit(project / "steps.py", "@step()\ndef two", "@step(timeout=9)\ndef two")
    assert digests(project, "one") == before
    edit(project / "steps.py", "LIMIT = 3", "LIMIT = 4")
    assert digests(project, "one") != before


def test_how_a_step_is_declared_does_not_count(project: Path) -> None:
    before = digests(project, "one")
    edit(project / "steps.py", "@step()\ndef one", "@step(timeout=9)\ndef one")
    assert digests(project, "one") == before


def test_a_module_named_for_a_process_counts(project: Path) -> None:
    before = digests(project, "two")
    edit(project / "worker.py", "working", "resting")
    assert digests(project, "two") != before


def moved(stage: Path, old: str, new: str) -> None:
    """Rename a module of the small project and all that names it."""
    (stage / f"{old}.py").rename(stage / f"{new}.py")
    for path in stage.glob("*.py"):
        text = path.read_text().replace(f"stage.{old}", f"stage.{new}").replace(f"import {old}", f"import {new}")
        path.write_text(text.replace(f"{old}.", f"{new}."))


@pytest.mark.parametrize(("name", "old"), [("one", "rules"), ("one", "deep"), ("two", "worker")])
def test_a_file_that_gets_another_name_changes_nothing(project: Path, name: str, old: str) -> None:
    before = fingerprint(project, name)
    moved(project, old, "elsewhere")
    after = fingerprint(project, name)
    assert after[0] == before[0]
    assert "tasks.stage.elsewhere" in after[1]


def test_a_file_that_is_split_changes_nothing(project: Path) -> None:
    (project / "rules.py").write_text("LIMIT = 2\ndef helper(n): return n + LIMIT\ndef apply(n): return helper(n)\n")
    before = fingerprint(project, "one")[0]
    (project / "half.py").write_text("LIMIT = 2\ndef helper(n): return n + LIMIT\n")
    (project / "rules.py").write_text("from tasks.stage.half import helper\ndef apply(n): return helper(n)\n")
    assert fingerprint(project, "one")[0] == before
    edit(project / "half.py", "2", "3")
    assert fingerprint(project, "one")[0] != before


def test_two_data_files_that_change_places_count(project: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (project / name).write_text(name)
    before = fingerprint(project, "one", "tasks/stage/a.yaml", "tasks/stage/b.yaml")[0]
    (project / "a.yaml").write_text("b.yaml")
    (project / "b.yaml").write_text("a.yaml")
    assert fingerprint(project, "one", "tasks/stage/a.yaml", "tasks/stage/b.yaml")[0] != before


def test_what_a_step_does_not_name_of_a_module_does_not_count(project: Path) -> None:
    before = fingerprint(project, "one")[0]
    (project / "rules.py").write_text((project / "rules.py").read_text() + "def other(n): return -n\n")
    assert fingerprint(project, "one")[0] == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from tasks.stage.deep import", "from tasks.stage.other import"),  # the same name of another module
        ("from math import sqrt", "from cmath import sqrt"),  # and of another library
        ("deep.helper(n) - other.helper(n)", "other.helper(n) - deep.helper(n)"),
        ("'helper'", "'unlike'"),
        ("STATE['on'] = 1", "STATE['on'] = 2"),  # done when the module is imported
        ("KNOWN = {'a': one_way}", "KNOWN = {'a': other_way}"),
    ],
)
def test_another_meaning_behind_a_name_counts(project: Path, old: str, new: str) -> None:
    (project / "other.py").write_text("def helper(n):\n    return -n\ndef unlike(n): return 0\n")
    (project / "rules.py").write_text(
        textwrap.dedent(
            """
            from math import sqrt
            from tasks.stage import deep, other
            from tasks.stage.deep import helper
            STATE = {}
            STATE['on'] = 1
            def one_way(n): return 1
            def other_way(n): return 2
            KNOWN = {'a': one_way}
            def apply(n):
                found = deep.helper(n) - other.helper(n)
                return found, helper(sqrt(n)), getattr(other, 'helper')(n), KNOWN['a'](n), STATE['on']
            """
        )
    )
    before = fingerprint(project, "one")[0]
    edit(project / "rules.py", old, new)
    assert fingerprint(project, "one")[0] != before


@pytest.mark.parametrize(
    "kind",
    [
        "from tasks.stage.registry import KINDS\nKINDS['a'] = lambda n: n\n",
        "from tasks.stage.registry import known\n@known('a')\ndef made(n): return (lambda n: n)(n)\n",
        "from tasks.stage import registry\n@registry.known('a')\nclass Made:\n    made = lambda n: n\n",
    ],
)
def test_what_an_imported_module_does_on_import_counts(project: Path, kind: str) -> None:
    (project / "registry.py").write_text(
        "KINDS = {}\ndef known(name): return lambda made: KINDS.setdefault(name, made)\n"
    )
    (project / "kind.py").write_text(kind)
    (project / "rules.py").write_text(
        "from tasks.stage import kind\nfrom tasks.stage.registry import KINDS\ndef apply(n): return KINDS['a'](n)\n"
    )
    before = fingerprint(project, "one")[0]
    edit(project / "kind.py", "n: n", "n: -n")
    assert fingerprint(project, "one")[0] != before


def test_what_a_step_finds_by_name_counts_and_nothing_else_of_its_module(project: Path) -> None:
    (project / "kind.py").write_text("def read(n):\n    return n\ndef list_entries(n):\n    return n\n")
    before = fingerprint(project, "one", reaches=("tasks.stage.kind:read",))
    assert fingerprint(project, "one")[0] != before[0] and "tasks.stage.kind" in before[1]
    edit(project / "kind.py", "list_entries(n):\n    return n", "list_entries(n):\n    return -n")
    assert fingerprint(project, "one", reaches=("tasks.stage.kind:read",)) == before
    edit(project / "kind.py", "read(n):\n    return n", "read(n):\n    return -n")
    assert fingerprint(project, "one", reaches=("tasks.stage.kind:read",))[0] != before[0]


def test_a_module_that_is_unused_does_not_count_nor_what_it_alone_reaches(project: Path) -> None:
    before, whole = (fingerprint(project, "one", unused=unused) for unused in (("tasks.stage.rules",), ()))
    assert set(before[1]) == {"tasks.stage.steps"} and before[0] != whole[0]
    edit(project / "rules.py", "helper(n)", "-helper(n)")
    edit(project / "deep.py", "return n", "return n + 1")
    assert fingerprint(project, "one", unused=("tasks.stage.rules",)) == before
    edit(project / "steps.py", "LIMIT = 3", "LIMIT = 4")
    assert fingerprint(project, "one", unused=("tasks.stage.rules",))[0] != before[0]


def test_versions_come_without_the_builds_local_part() -> None:
    assert code.library_version("any", "torch") == "2.13.0"


def test_a_process_that_stays_sees_code_that_is_edited_meanwhile(tmp_path: Path) -> None:
    copy = ProjectCopy(tmp_path)
    script = """
import json
from tasks.core.plan.fingerprint import fingerprint, fingerprint_now
from tasks.core.plan.source_code import edited
from tasks.clean.steps import split_shard
from tasks.core.interpreter import ROOT
before = fingerprint(split_shard).digest, edited()
file = ROOT / "tasks/clean/steps.py"
line = "    from tasks.clean.split import split\\n"
assert line in file.read_text()
file.write_text(file.read_text().replace(line, f"{line}    print(1)\\n"))
after = fingerprint(split_shard).digest, edited()
print(json.dumps([*before, *after, fingerprint_now(split_shard).digest, edited()]))
"""
    before, was_edited, after, is_edited, now, still = copy.says(script)
    assert after == before != now and (was_edited, is_edited, still) == (False, True, False)
