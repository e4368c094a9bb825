"""Triggers and notifications of deployments as files want them and as Prefect's automations have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from conf.schema.deployment import DeploymentConf
from tasks.core.services import prefect_api

MARK = "Made by `fromzero deploy` of "
"""How the description of an automation begins that was made from a file; what it was made of follows, as JSON."""
NONE: dict[str, dict[str, Any]] = {"triggers": {}, "notify": {}}
PAGE = 200
"""Automations in one answer, at most: Prefect's own limit."""


def trigger_rows(conf: DeploymentConf) -> dict[str, dict[str, Any]]:
    """The triggers of a deployment by what they are about."""
    rows = [trigger.model_dump(mode="json") for trigger in conf.triggers]
    return {" ".join(filter(None, (row["kind"], row.get("model") or row.get("of")))): row for row in rows}


def notify_rows(conf: DeploymentConf) -> dict[str, dict[str, Any]]:
    """The notifications of a deployment by where they go; several to one place are one."""
    rows: dict[str, dict[str, Any]] = {}
    for notify in conf.notify:
        way, where = notify.way
        row = rows.setdefault(f"{way.removesuffix('_env')} {where}", {way: where, "about": []})
        row["about"] = sorted({*row["about"], *notify.about})
    return rows


def wanted(conf: DeploymentConf) -> dict[str, dict[str, Any]]:
    """What is compared with `in_force`."""
    return {"triggers": trigger_rows(conf), "notify": notify_rows(conf)}


def description(name: str, part: str, label: str, row: dict[str, Any], about: str | None = None) -> str:
    """What an automation says of itself."""
    return MARK + json.dumps({"deployment": name, "part": part, "label": label, "row": row, "about": about})


def made(url: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The automations that were made from files: as Prefect has them, and what they say of themselves."""
    offset = 0
    while page := prefect_api.ask(url, "automations/filter", {"limit": PAGE, "offset": offset}):
        for found in page:
            if found["description"].startswith(MARK):
                yield found, json.loads(found["description"][len(MARK) :])
        offset += len(page)


def in_force(url: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Triggers and notifications by deployment; of a notification only what an automation is there for, and enabled."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for automation, about in made(url):
        if not automation["enabled"]:
            continue
        rows = found.setdefault(about["deployment"], {part: {} for part in NONE})[about["part"]]
        if about["about"] is None:
            rows[about["label"]] = about["row"]
        else:
            row = rows.setdefault(about["label"], {**about["row"], "about": []})
            row["about"] = sorted([*row["about"], about["about"]])
    return found
