"""A kind of source that another distribution adds, from its recipe to its documents; no file of ours knows of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.interpreter import ROOT
from tests.project_copy import ProjectCopy, says

FILES = {
    "aviary/__init__.py": "",
    "aviary/words.py": "def said(word, times):\n    return ' '.join([word] * times)\n",
    "aviary/parrot.py": '''
from typing import ClassVar, Literal
from conf.schema.source import Source
from tasks.core.errors import DataError

class ParrotSource(Source):
    """What parrots say."""
    kind: Literal["parrot"]
    """Always parrot."""
    where: ClassVar[frozenset[str]] = frozenset({"words"})
    words: tuple[str, ...] = ()
    """The words that they know."""
    times: int = 30
    """How often a parrot says its word."""

OPTIONS, PLACE, LIBRARIES = ParrotSource, "words", ("pyarrow",)
EXPECTATIONS = ({"expectation": "expect_column_values_to_be_between", "column": "p50", "kwargs": {"min_value": 99}},)

def entries(source, conf, known=()):
    return [{"uri": word, "name": word, "size": len(word), "stamp": str(len(word))} for word in conf.words]

def warns(source, conf):
    return [{"text": f"source {source}: parrots bite", "option": ""}]

def read(entries, conf, documents, scratch):
    from aviary.words import said
    for entry in entries:
        documents.add(said(entry["uri"], conf.times), f"{entry['name']}#1", "unknown")
''',
    "aviary-1.0.dist-info/METADATA": "Name: aviary\nVersion: 1.0\n",
    "aviary-1.0.dist-info/entry_points.txt": "[fromzero.sources]\nparrot = aviary.parrot\n",
}
RECIPE = """
extends: text
name: birds
data: {sources: {birds: {kind: parrot, words: [lora, polly]}}}
"""
RUN = """
import json, os, sys
from pathlib import Path
from conf.compose import compose
from flows.data import prepare
from flows.runs import running
from tasks.collect.steps import fetch_shard, observe_sources
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import Listener
from tasks.core.engine.places.local import PLACE
from tasks.core.plan.planner import Reached
from tasks.core.step import Call, interpreted_by
from tasks.core.store.lease import FileLease
from tasks.core.store.open import open_store
from tasks.core.workdir import Workdir
from tasks.validate.corpus_rules import rules_of
from tests.in_process import InProcess

recipe = compose(os.environ["RECIPE"])
planned = running.plan(recipe, until="fetch_shard")
interpreter = InProcess(open_store(recipe.store), until="profile_shard")
try:
    with interpreted_by(interpreter):
        prepare(recipe)
except Reached:
    pass
(shard,), work = observe_sources(recipe.data), Workdir(Path(os.environ["FROMZERO_HOME"]) / "work")
work.make()
call = Call(fetch_shard, (shard,), recipe.data.sources["birds"])
job = JobFile.of(call, call.inputs, work, {})
job.write()
stats = PLACE.run(job, FileLease(0), Listener(work.root / "log", lambda line: None, lambda event: None))
import polars
rows = polars.read_parquet(work / "docs.parquet").rows(named=True)
print(json.dumps({
    "planned": [[row.step, row.action, row.reason] for row in planned.rows],
    "warned": [one["text"] for one in call.warnings()],
    "made": interpreter.made, "stats": stats,
    "texts": [row["text"] for row in rows], "uris": [row["uri"] for row in rows],
}))
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with the distribution."""
    for path, text in FILES.items():
        (tmp_path / "library" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "library" / path).write_text(text)
    (tmp_path / "birds.yaml").write_text(RECIPE)
    return tmp_path / "library"


def test_an_added_kind_is_planned_fetched_and_keyed_on_its_own_code(library: Path) -> None:
    environ = {"FROMZERO_HOME": str(library.parent / "home"), "RECIPE": str(library.parent / "birds.yaml")}
    found = says(RUN, library, ROOT, **environ)
    assert found["planned"][0][:2] == ["fetch_shard", "run"] and found["warned"] == ["source birds: parrots bite"]
    assert found["made"] == ["fetch_shard[birds-000]", "profile_shard[birds-000]"]
    assert found["stats"]["rows"] == 2 and found["uris"] == ["lora#1", "polly#1"]
    assert found["texts"][0] == " ".join(["lora"] * 30)

    again = says(RUN, library, ROOT, **environ)
    assert again["planned"][0][1] == "hit" and again["made"] == []

    words = library / "aviary/words.py"
    words.write_text("# a comment\n" + words.read_text().replace("' '.join", "', '.join"))
    changed = says(RUN, library, ROOT, **environ)
    assert changed["planned"][0][1] == "run" and "aviary.words" in changed["planned"][0][2]
    assert changed["texts"][0].startswith("lora, lora")


def test_what_an_added_kind_expects_of_its_documents_is_in_the_suite(library: Path) -> None:
    script = """
import json, os
from conf.compose import compose
from tasks.collect.steps import expectations_of
from tasks.validate.corpus_rules import rules_of
data = compose(os.environ["RECIPE"]).data
suite = rules_of(data.validation, ["a"], ["parrot"], expectations_of(data.sources))["suite"]
print(json.dumps([wanted["kwargs"] for wanted in suite if wanted["column"] == "p50"]))
"""
    assert says(script, library, ROOT, RECIPE=str(library.parent / "birds.yaml")) == [{"min_value": 99}]


def command(library: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{library}{os.pathsep}{ROOT}", "FROMZERO_HOME": str(library.parent / "home")}
    line = [sys.executable, "-P", "-m", "flows.cli.main", *words]
    return subprocess.run(line, capture_output=True, text=True, env=env, cwd=library.parent)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.sources.birds.kind=parot", "there is no 'parot'; did you mean parrot?"),
        ("data.sources.birds.times=often", "data.sources.birds.times: Input should be a valid integer"),
        ("data.sources.birds.wrods=[a]", "no option 'wrods' here; did you mean words or"),
    ],
)
def test_the_command_knows_the_options_of_an_added_kind(library: Path, override: str, said: str) -> None:
    ran = command(library, "plan", "birds.yaml", override)
    assert ran.returncode == 2 and said in ran.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("from conf.schema.source import Source", "import nothing_like_it", "No module named 'nothing_like_it'"),
        ('Literal["parrot"]', 'Literal["bird"]', "its OPTIONS have to say `kind: Literal['parrot']`"),
        ("OPTIONS, PLACE", "SETTINGS, PLACE", "has no attribute 'OPTIONS'"),
    ],
)
def test_a_kind_that_cannot_be_used_is_named_with_what_is_wrong(library: Path, old: str, new: str, said: str) -> None:
    module = library / "aviary/parrot.py"
    module.write_text(module.read_text().replace(old, new, 1))
    ran = command(library, "plan", "birds.yaml")
    assert (
        ran.returncode == 1 and said in ran.stderr and "aviary.parrot" in ran.stderr and "Traceback" not in ran.stderr
    )


def test_the_shell_offers_the_options_of_an_added_kind(library: Path) -> None:
    script = """
import json
import click
from flows.cli.completion import override_keys
context = click.Context(click.Command("plan"))
print(json.dumps([item.value for item in override_keys(context, None, "data.sources.birds.")]))
"""
    assert {"data.sources.birds.words=", "data.sources.birds.times="} <= set(says(script, library, ROOT))


def test_the_page_on_adding_a_source_can_be_followed(tmp_path: Path) -> None:
    project, page = ProjectCopy(tmp_path), (ROOT / "docs/add-a-source.md").read_text()
    files = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(files) == 2
    for path, text in files:
        (project.root / path).write_text(text)
    env = {**os.environ, "PYTHONPATH": str(project.root)}
    test = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", files[1][0]]
    ran = subprocess.run(test, cwd=project.root, capture_output=True, text=True, env=env)
    assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout
