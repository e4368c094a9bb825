"""`up`, `down` and `status`: the servers and the worker of a home."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from conf.schema.services import ServicesConf
from flows.runs import standing
from flows.runs.running import prepare
from tasks.core import liveness
from tasks.core.databases import home_databases
from tasks.core.errors import ConfigError, HostError, Transient
from tasks.core.services import access, prefect_api, servers
from tasks.core.services.supervised import check_port
from tasks.core.tracking.tracking import Tracking

START_LIMIT = 600.0
"""Seconds that all services together may take to answer."""
MLFLOW_LIMIT = 60.0
"""Seconds that MLflow may take to hear of runs that died before `up`; the rest is told by the next run."""
RESTART_LIMIT = 60.0
"""Seconds that a server which died may take to answer again before `down` goes on without it."""
PAGES = ("prefect", "mlflow")
"""The services that people look at."""
ASKS_NOBODY = (
    "warning: an earlier version started these servers, which answer everybody on this machine: `fromzero down`, then "
    "`fromzero up`"
)
PATIENCE = 120.0
"""Seconds that runs may take to save and leave on `down`, and then the services: more than the sum of their graces."""


def up(home: Path, conf: ServicesConf, say: Callable[[str], None]) -> dict[str, str]:
    """Keep the servers and the worker running; returns their pages. Nothing happens to what is up already."""
    if url := os.environ.get("PREFECT_API_URL"):
        raise ConfigError(f"PREFECT_API_URL names a server ({url}): `up` starts one of its own, so unset it first")
    asked, found = servers.wanted(home), servers.running(home)
    if conf.database is None:
        conf = conf.model_copy(update={"database": home_databases.chosen(home)})
    if asked is not None and asked != conf:
        raise ConfigError(f"it is up already with other options ({_shown(asked)}): `fromzero down` first")
    if found is not None and asked is None:
        users = ", ".join(run["name"] for run in liveness.living(home)) or "a run that plans"
        raise HostError(f"{users} uses a server of its own: wait for its end, or `fromzero cancel` it, then `up` again")
    prepare(conf.database)
    if found is None:
        servers.clear(home)
        check_port(conf.host, conf.prefect_port, "prefect_port")
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            check_port(conf.host, conf.mlflow_port, "mlflow_port")
    os.environ.update(servers.environment(home))
    servers.want(home, conf)
    try:
        member = servers.Membership(home)
        try:
            _start(home, conf, member.url(), say)
            Tracking.end_lost(home, MLFLOW_LIMIT)
        finally:
            member.leave()
    except BaseException:
        if asked is None:
            servers.want(home, None)
        raise
    return servers.pages(home)


def _start(home: Path, conf: ServicesConf, api: str, say: Callable[[str], None]) -> None:
    say(f"Prefect answers: {api.removesuffix('/api')}")
    if conf.host not in ("127.0.0.1", "localhost", "::1"):
        say(
            f"warning: passwords and pages pass to {conf.host}:{conf.prefect_port} unencrypted: put a proxy with TLS "
            "in between, and a firewall around"
        )
    os.environ.update(servers.client(home, api))
    standing.prefect_by_environment()
    from flows.deploy import deployments

    changes = deployments.compare(deployments.shipped(), conf.pool)
    for change in changes:
        say(change.shown())
    deployments.carry_out(changes, conf)
    _await(home)


def _await(home: Path) -> None:
    """Wait until MLflow answers and the worker has said that it is there."""
    names = ["prefect", *([] if os.environ.get("MLFLOW_TRACKING_URI") else ["mlflow"]), "worker"]
    deadline = time.monotonic() + START_LIMIT
    while late := [name for name in names if health(home).get(name, {}).get("state") != "healthy"]:
        if time.monotonic() > deadline:
            log = home / "logs" / "services" / f"{late[0]}.log"
            said = log.read_text()[-1500:] if log.exists() else "it has not written any"
            raise HostError(f"{late[0]} does not answer; the end of {log}:\n{said}")
        time.sleep(0.3)


def health(home: Path) -> dict[str, dict[str, Any]]:
    """Each service that should run: healthy, starting or down; where its pages are, its log, how often it restarted."""
    found, conf = servers.running(home), servers.wanted(home)
    if found is None:
        return {}
    looks: dict[str, Callable[[], bool]] = {
        "prefect": lambda: servers.answers(found["url"]),
        "mlflow": lambda: servers.healthy(f"{found['mlflow']}/health"),
        "worker": lambda: conf is not None and _online(found["url"], conf.pool, found["worker"]),
    }
    states: dict[str, dict[str, Any]] = {}
    for name, about in found["services"].items():
        state = "down" if about["pid"] is None else "healthy" if looks[name]() else "starting"
        states[name] = {"state": state, "url": found.get(name), **about}
    return states


def _online(url: str, pool: str, name: str) -> bool:
    """The keeper's own worker is online; one that a killed keeper has left counts as online for a while."""
    workers = prefect_api.ask(url, f"work_pools/{pool}/workers/filter", {}) or []
    return any(worker["status"] == "ONLINE" and worker["name"] == name for worker in workers)


def link(home: Path, pages: str) -> str:
    """An address that lets whoever runs this command in once; the plain one of servers that ask nobody."""
    return access.link(home, pages) if servers.asks(home) else pages


def login(home: Path, name: str | None, role: str | None, env: bool) -> list[str]:
    """What a person needs to see the pages: links, or variables for programs; raises `HostError` if nothing is up."""
    pages = servers.pages(home)
    if servers.wanted(home) is None or not pages:
        raise HostError("nothing is up that anybody could be let into: `fromzero up` first")
    person = access.Person(name, role or "reader") if name else access.Person(access.owner().name, role or "owner")
    if not env:
        return [f"{service:<8} {access.link(home, where, person)}" for service, where in pages.items()]
    word = access.password(home, person)
    given = {"PREFECT_API_URL": f"{pages['prefect']}/api", "PREFECT_API_AUTH_STRING": f"{person.name}:{word}"}
    if "mlflow" in pages:
        given["MLFLOW_TRACKING_URI"] = pages["mlflow"]
        given |= {"MLFLOW_TRACKING_USERNAME": person.name, "MLFLOW_TRACKING_PASSWORD": word}
    return [f"export {variable}={shlex.quote(value)}" for variable, value in given.items()]


def down(home: Path, finish: bool, say: Callable[[str], None]) -> None:
    """Stop everything: runs save and leave first (with `finish` they end as they would), then servers and worker."""
    conf = servers.wanted(home)
    there = _runs_leave(home, conf, finish, say)
    servers.want(home, None)
    deadline = time.monotonic() + PATIENCE
    while servers.running(home) is not None:
        if time.monotonic() > deadline:
            raise HostError(
                "another command that has just begun still uses the servers: they stop when it ends; logs are in "
                f"{home / 'logs' / 'services'}"
            )
        time.sleep(0.2)
    servers.clear(home)
    if there:
        say("down: nothing is left running")
    else:
        say("nothing was up" if conf is None else "down: what was up had died; nothing is left running")


def _runs_leave(home: Path, conf: ServicesConf | None, finish: bool, say: Callable[[str], None]) -> bool:
    """Wait until no run is left and none begins; whether there was a server or a run. One that dies is asked again."""
    from tasks.core.engine.places.pool import end_lost

    there, asked, paused = False, set[str](), 0
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = _answering(home)
            if found is not None and conf is not None and paused != found["pid"]:
                prefect_api.ask(
                    found["url"], f"work_pools/{conf.pool}", {"is_paused": True}, "PATCH"
                )  # nothing new begins
                paused = found["pid"]
            left = _under_way(home, found)
            there = there or found is not None or bool(left)
            if not left:
                return there
            if found is not None and any(run.get("body") for run in left):
                end_lost(found["url"])
            for run in [] if finish else left:
                if run["run"] not in asked and not run.get("body"):
                    _interrupt(run, found)
                    asked.add(run["run"])
                    say(f"{run['name']}: asked to save and stop; the same command goes on")
        except Transient:
            if time.monotonic() > deadline:
                raise
            continue
        if not finish and time.monotonic() > deadline:
            names = ", ".join(run["name"] for run in left)
            raise HostError(f"{names} did not leave within {PATIENCE:.0f} s: end it, then `fromzero down` again")
        time.sleep(0.5)


def _answering(home: Path) -> dict[str, Any] | None:
    """The home's server, once it answers; None if there is none. One that was killed is waited for while it is started
    again, by its keeper or by a run that uses it: whoever lives is to be asked through it, so that its pages say so."""
    deadline = time.monotonic() + RESTART_LIMIT
    while True:
        found = servers.running(home)
        if found is not None and servers.answers(found["url"]):
            return found
        expected = found is not None or any(run.get("database") == "home" for run in liveness.living(home))
        if not expected or time.monotonic() > deadline:
            return None
        time.sleep(0.2)


def _under_way(home: Path, found: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Runs of this home's server: those that live, those that its worker is about to start, and bodies of steps that
    other machines carry out (`body`), which end with their run."""
    url = found["url"] if found else None
    here = [run for run in liveness.living(home) if found is None or run.get("server") in (None, url)]
    if url is None:
        return here
    known = {run["run"] for run in here}
    begun = prefect_api.flow_runs(url, "RUNNING", "PENDING", "CANCELLING")
    dead = {run["run"] for run in liveness.dead(home)}
    scheduled = [run for run in begun if run["deployment_id"] and run["id"] not in known | dead]
    bodies = {run["id"] for run in scheduled if run["parent_task_run_id"]}
    return [
        *here,
        *({"run": run["id"], "name": run["name"], "pid": None, "body": run["id"] in bodies} for run in scheduled),
    ]


def _interrupt(run: dict[str, Any], found: dict[str, Any] | None) -> None:
    """Through Prefect, so that its pages say so; without a server by a signal."""
    if found is not None:
        prefect_api.cancel(found["url"], run["run"], "fromzero down")
    elif run["pid"] is not None:
        with suppress(ProcessLookupError):
            os.kill(run["pid"], signal.SIGTERM)


def status(home: Path) -> dict[str, Any]:
    """Health, versions, queues, runs under way, models, disk: everything that `status` shows, as JSON."""
    from importlib.metadata import version

    found, url = servers.running(home), None
    services = health(home)
    report: dict[str, Any] = {
        "home": str(home),
        "up": servers.wanted(home) is not None,
        "services": services,
        "versions": {name: version(name) for name in ("fromzero", "prefect", "mlflow", "torch", "transformers")},
        "running": liveness.living(home),
        "dead": liveness.dead(home),
        "disk": _disk(home),
    }
    if found is not None and services["prefect"]["state"] == "healthy":
        url = str(found["url"])
        names = _deployments(url)
        coming = prefect_api.flow_runs(url, "SCHEDULED", limit=5, sort="NEXT_SCHEDULED_START_TIME_ASC")
        report["queued"] = [
            {"name": names.get(run["deployment_id"], run["name"]), "at": run["next_scheduled_start_time"]}
            for run in coming
        ]
        report["waiting"] = [run["name"] for run in prefect_api.flow_runs(url, "PAUSED")]
        report["deployments"] = sorted(names.values())
    return report


def _deployments(url: str) -> dict[str, str]:
    """RECIPE/NAME of all deployments by id."""
    flows = {flow["id"]: flow["name"] for flow in prefect_api.ask(url, "flows/filter", {}) or []}
    return {
        found["id"]: f"{flows[found['flow_id']]}/{found['name']}{' (paused)' if found['paused'] else ''}"
        for found in prefect_api.ask(url, "deployments/filter", {}) or []
    }


def _disk(home: Path) -> dict[str, int]:
    used = 0
    for folder, _, names in os.walk(home):
        for name in names:
            with suppress(FileNotFoundError):  # a run under way tidies up
                used += os.lstat(os.path.join(folder, name)).st_size
    return {"home_bytes": used, "free_bytes": shutil.disk_usage(home if home.exists() else home.parent).free}


def _shown(conf: ServicesConf) -> str:
    return ", ".join(f"{name}={value}" for name, value in conf.model_dump().items())
