"""Deployments as their files want them, and how they differ from what Prefect has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.deploy import deployment_files
from flows.deploy.deployment_files import Change, compare, read, shipped
from tasks.core.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"schedule": {"kind": "cron", "cron": "at night"}}, r"schedule\.cron.*'at night'.*five fields"),
        ({"schedule": {"kind": "cron", "cron": "0 2 * * *", "timezone": "Berlin"}}, "'Berlin' is no time zone"),
        ({"schedule": {"kind": "rrule", "rrule": "each Friday"}}, "no recurrence rule"),
        ({"schedule": {"kind": "interval", "minutes": 0}}, r"schedule\.minutes"),
        ({"schedule": {"cron": "0 2 * * *"}}, r"schedule has no kind: give schedule\.kind=cron\|interval\|rrule"),
        ({"when_runing": "skip"}, r"no option 'when_runing'; did you mean when_running"),
        ({"when_running": "stop"}, "when_running"),
        ({"recipe": "dmeo"}, "no recipe 'dmeo'; did you mean demo"),
        ({"overrides": ["tokenizer.vocab=5"]}, r"tokenizer has no option 'vocab'.*vocab_size"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_option_before_anything_is_sent(
    tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(json.dumps({"recipe": "demo", **values}))
    with pytest.raises(ConfigError, match=told):
        read(path, "tests")


def test_paths_start_at_the_file_but_for_shipped_ones_where_the_command_is_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("{description: mine, tags: [b]}")
    mine, (nightly,) = read(path, "pool"), [read(file, "pool") for file in shipped()]
    assert (mine.folder, nightly.folder) == (tmp_path, Path.cwd())
    assert (mine.name, mine.flow, mine.tags, mine.description) == ("mine", "demo", ["b", "demo", "fromzero"], "mine")


def test_what_prefect_has_is_read_as_files_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "often.yaml"
    path.write_text(json.dumps({"schedule": {"kind": "interval", "minutes": 90}, "when_running": "queue"}))
    wanted = read(path, "pool")
    answers: dict[str, list[dict[str, Any]]] = {
        "automations/filter": [],
        "flows/filter": [{"id": "f", "name": "demo"}],
        "deployments/filter": [
            {
                "name": name, "flow_id": "f", "tags": tags, "description": wanted.description,
                "parameters": {"recipe": {**wanted.recipe, "name": "other"}, "until": None},
                "schedules": [{"active": True, "schedule": {"interval": 5400.0, "timezone": None}}],
                "concurrency_options": {"collision_strategy": "ENQUEUE"},
                "job_variables": {"env": {"FROMZERO_FOLDER": str(tmp_path)}}, "work_pool_name": "pool",
            }
            for name, tags in (("often", wanted.tags), ("by-hand", []))
        ],
    }  # fmt: skip
    monkeypatch.setenv("PREFECT_API_URL", "http://here/api")
    monkeypatch.setattr(deployment_files.prefect_api, "ask", lambda url, path, body: answers[path])
    (change,) = compare([path], "pool", prune=True)
    assert change.plain() == {"name": "demo/often", "action": "change", "changes": ["recipe.name: other → demo"]}
    assert change.shown() == "~ demo/often: changes\n    recipe.name: other → demo"
    assert compare([], "pool") == [] and compare([], "pool", prune=True) == [Change("demo/often", "remove")]
