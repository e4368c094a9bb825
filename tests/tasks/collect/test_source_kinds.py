"""What kinds of sources are to the rest."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from conf.schema.data import SOURCES
from conf.schema.source import Source
from tasks.collect import source_kinds
from tasks.core import plugins
from tests.project_copy import ProjectCopy

KINDS = sorted(plugins.names(*SOURCES))
CODE = """
import json
from tasks.collect.sources.files import FilesSource
from tasks.collect.sources.sql import SqlSource
from tasks.collect.steps import fetch_evaluation, fetch_shard
from tasks.core.plan.keys import made_from
from tasks.core.step import Call
confs = FilesSource(kind="files", paths=("x",)), SqlSource(kind="sql", url="sqlite:///x", query="SELECT 1")
shard = {"shard": "a-000", "source": "a", "entries": []}
print(json.dumps([[made_from(Call(s, (shard,), c))["code"] for c in confs] for s in (fetch_shard, fetch_evaluation)]))
"""


@pytest.mark.parametrize(("name", "options"), plugins.options(*SOURCES).items())
def test_every_kind_holds_what_its_folder_says(name: str, options: type[Source]) -> None:
    kind = source_kinds.kind(name)
    assert tuple(inspect.signature(kind.entries).parameters) == ("source", "conf", "known")
    assert tuple(inspect.signature(kind.read).parameters)[1:] == ("conf", "documents", "scratch")
    assert kind.libraries and kind.place in options.model_fields and options.where <= options.model_fields.keys()
    assert options.__doc__


def test_one_kind_reads_folders() -> None:
    assert [name for name in KINDS if source_kinds.kind(name).folders] == [source_kinds.of_folders()]


def test_a_line_in_the_file_of_one_kind_fetches_none_of_another_again(tmp_path: Path) -> None:
    project = ProjectCopy(tmp_path)
    before = project.says(CODE)
    project.edit("tasks/collect/sources/sql.py", "    for entry in counted(", "    print(1)\n    for entry in counted(")
    (files, sql), (files_elsewhere, sql_elsewhere) = project.says(CODE)
    assert files == before[0][0] and files_elsewhere == before[1][0]
    assert sql != before[0][1] and sql_elsewhere != before[1][1]
    project.edit("tasks/collect/rows.py", "def add(", "def added(row): ...\n\n\ndef add(")
    assert project.says(CODE)[0][0] == files, "what is not called does not count"
    project.edit("tasks/collect/rows.py", "{message['role']}: ", "{message['role']} - ")
    assert project.says(CODE)[0][0] != files, "what kinds share counts for all"
