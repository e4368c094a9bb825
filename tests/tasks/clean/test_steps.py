"""What the cleaning of a shard is keyed on."""

from __future__ import annotations

from pathlib import Path

from tests.project_copy import ProjectCopy

CODE = """
import json
from conf.schema.clean import CleanConf
from tasks.clean.steps import clean_shard
from tasks.core.plan.keys import made_from
from tasks.core.step import Call
confs = {}, {"names": {}}, {"language": {}}
print(json.dumps([made_from(Call(clean_shard, ("x", None), CleanConf.model_validate(c)))["code"] for c in confs]))
"""


def test_the_code_behind_an_option_counts_only_where_it_is_on(tmp_path: Path) -> None:
    project = ProjectCopy(tmp_path)
    before = project.says(CODE)
    assert len({str(code) for code in before}) == 3
    project.edit("tasks/clean/names.py", "LONGEST = 10_000", "LONGEST = 20_000")
    plain, names, language = project.says(CODE)
    assert plain == before[0] and names != before[1] and language == before[2]
    project.edit("tasks/clean/spacy_models.py", '"GPE", ', "")
    assert project.says(CODE)[0] == before[0] and project.says(CODE)[1] != names
    project.edit("tasks/clean/languages.py", "def identify(", "BIAS = 1\n\n\ndef identify(")
    project.edit("tasks/clean/languages.py", "round(confidence, 4)", "round(confidence, 4 * BIAS)")
    assert [code == old for code, old in zip(project.says(CODE), before, strict=True)] == [True, False, False]
