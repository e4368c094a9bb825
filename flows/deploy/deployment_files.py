"""Deployments as files want them and as Prefect has them, and what lies between the two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.compose import FOLDER as CONF
from conf.compose import compose, read_model
from conf.schema.deployment import DeploymentConf
from flows.deploy import automation_rows
from flows.runs.standing import FOLDER
from tasks.core.plan.keys import flat
from tasks.core.services import prefect_api

SHIPPED = CONF / "deployments"
OURS = "fromzero"
"""Tag of every deployment that was made from a file, and of its runs: those that are to give signs of life."""


@dataclass(frozen=True)
class Wanted:
    """A deployment as its file wants it."""

    name: str
    flow: str
    """The recipe's name: Prefect shows the runs of a recipe together, whoever started them."""
    conf: DeploymentConf
    recipe: dict[str, Any]
    folder: Path
    """Where relative paths of the recipe start."""
    pool: str
    """The work pool whose workers carry it out."""

    @property
    def description(self) -> str:
        """What Prefect's page says of it: never nothing, which Prefect would fill in itself."""
        return self.conf.description or f"The recipe {self.flow}: only what has changed is made again."

    @property
    def tags(self) -> list[str]:
        """Those of its file, the recipe's name, and the one by which it is known."""
        return sorted({OURS, self.flow, *self.conf.tags})

    def plain(self) -> dict[str, Any]:
        """What is compared with what is in force."""
        return {
            "recipe": self.recipe,
            "until": self.conf.until,
            "refresh": list(self.conf.refresh),
            "schedule": self.conf.schedule.model_dump(mode="json") if self.conf.schedule else None,
            "active": self.conf.active,
            "when_running": self.conf.when_running,
            "description": self.description,
            "tags": self.tags,
            "folder": str(self.folder),
            "pool": self.pool,
            **automation_rows.wanted(self.conf),
        }


def read(path: Path, pool: str) -> Wanted:
    """A deployment's file, its recipe composed and checked; raises `ConfigError`."""
    conf = read_model(DeploymentConf, path)
    beside = path.parent / conf.recipe
    recipe = compose(str(beside) if beside.suffix in (".yaml", ".yml") else conf.recipe, conf.overrides)
    folder = Path.cwd() if SHIPPED in path.absolute().parents else path.parent.absolute()
    return Wanted(path.stem, recipe.name, conf, recipe.model_dump(mode="json"), folder, pool)


def shipped() -> list[Path]:
    """The files in conf/deployments."""
    return sorted(SHIPPED.glob("*.yaml"))


@dataclass(frozen=True)
class Change:
    """What putting one file in force means."""

    name: str
    """RECIPE/FILE, as Prefect shows it."""
    action: str
    """create, change, keep or remove."""
    lines: tuple[str, ...] = ()
    """OPTION: OLD → NEW."""
    wanted: Wanted | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "action": self.action, "changes": list(self.lines)}

    def shown(self) -> str:
        """For people."""
        mark, said = {
            "create": ("+", "new"), "change": ("~", "changes"), "keep": ("=", "as it is"), "remove": ("-", "removed"),
        }[self.action]  # fmt: skip
        return "\n".join([f"{mark} {self.name}: {said}", *(f"    {line}" for line in self.lines)])


def compare(files: list[Path], pool: str, prune: bool = False) -> list[Change]:
    """What would change if these files, and with `prune` only these, were put in force on a work pool."""
    present, found = _in_force(), []
    for file in files:
        wanted = read(file, pool)
        name = f"{wanted.flow}/{wanted.name}"
        if name not in present:
            when = f"schedule: {_shown(wanted.plain()['schedule'])}"
            found.append(Change(name, "create", (when,), wanted))
        else:
            lines = tuple(_differences(wanted.plain(), present[name]))
            found.append(Change(name, "change" if lines else "keep", lines, wanted))
    gone = sorted(present.keys() - {change.name for change in found}) if prune else []
    return [*found, *(Change(name, "remove") for name in gone)]


def _in_force() -> dict[str, dict[str, Any]]:
    """What is deployed now from files, by RECIPE/FILE, as `Wanted.plain` gives it."""
    url = os.environ["PREFECT_API_URL"]
    known = prefect_api.ask(url, "deployments/filter", {"limit": 200, "sort": "NAME_ASC"})
    found = [deployment for deployment in known if OURS in deployment["tags"]]
    chosen = {"id": {"any_": [deployment["flow_id"] for deployment in found]}}
    flows = {flow["id"]: flow["name"] for flow in prefect_api.ask(url, "flows/filter", {"flows": chosen})}
    automations = automation_rows.in_force(url)
    names = {f"{flows[one['flow_id']]}/{one['name']}": one for one in found}
    return {name: _plain(one) | automations.get(name, automation_rows.NONE) for name, one in names.items()}


def _plain(deployment: dict[str, Any]) -> dict[str, Any]:
    given, first = deployment["parameters"], next(iter(deployment["schedules"]), None)
    skips = (deployment["concurrency_options"] or {}).get("collision_strategy") == "CANCEL_NEW"
    return {
        "recipe": given.get("recipe"),
        "until": given.get("until"),
        "refresh": list(given.get("refresh", ())),
        "schedule": _plain_schedule(first["schedule"]) if first else None,
        "active": first["active"] if first else True,
        "when_running": "cancel" if given.get("replace") else "skip" if skips else "queue",
        "description": deployment["description"] or "",
        "tags": sorted(deployment["tags"]),
        "folder": ((deployment["job_variables"] or {}).get("env") or {}).get(FOLDER),
        "pool": deployment["work_pool_name"],
    }


def _plain_schedule(schedule: dict[str, Any]) -> dict[str, Any]:
    zone = {"timezone": schedule["timezone"] or "UTC"}
    if "cron" in schedule:
        return {**zone, "kind": "cron", "cron": schedule["cron"]}
    if "interval" in schedule:
        return {**zone, "kind": "interval", "minutes": schedule["interval"] / 60}
    return {**zone, "kind": "rrule", "rrule": _rule(schedule["rrule"])}


def _rule(rrule: str) -> str:
    """A recurrence rule without the start that Prefect adds."""
    return rrule.splitlines()[-1].removeprefix("RRULE:")


def _differences(wanted: dict[str, Any], present: dict[str, Any]) -> Iterator[str]:
    """What would change, one option a line: OPTION: OLD → NEW."""
    after, before = flat(wanted), flat(present)
    for name in sorted(after.keys() | before.keys()):
        if after.get(name) != before.get(name):
            yield f"{name}: {_shown(before.get(name))} → {_shown(after.get(name))}"


def _shown(value: Any) -> str:
    return "unset" if value in (None, {}, []) else str(value)
