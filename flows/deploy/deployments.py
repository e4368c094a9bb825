"""Deployments put in force: the flows that workers carry out, their schedules, the work pool, the trigger."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists
from prefect.schedules import Cron, Interval, RRule, Schedule
from prefect.types.entrypoint import EntrypointType

from conf.schema.deployment import CronConf, DeploymentConf, IntervalConf
from conf.schema.services import ServicesConf
from flows.deploy import automations, worker_flows
from flows.deploy.deployment_files import OURS, Change, Wanted, compare, shipped
from flows.runs.standing import FOLDER
from tasks.core.interpreter import SAFE
from tasks.core.services.servers import HEARTBEAT

__all__ = ["carry_out", "compare", "prepare", "shipped"]

BEATING = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)}
"""What lets runs of the pipeline give signs of life."""
ENDED = ("Completed", "Unchanged", "Refused", "Waiting", "Failed", "Cancelled", "Crashed")
"""The names of states after which a run beats no more."""
CRASHED = AutomationCore(
    name="Runs without a sign of life have crashed",
    description="A run on a worker beats every half minute; after three missed beats it is marked Crashed.",
    trigger=EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in ENDED)},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        match_related=ResourceSpecification(
            {"prefect.resource.id": [f"prefect.tag.{OURS}"], "prefect.resource.role": ["tag"]}
        ),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=3 * HEARTBEAT),
    ),
    actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no sign of life: its worker is gone")],
)


def carry_out(changes: list[Change], conf: ServicesConf) -> None:
    """Put changes in force, after what all deployments need; raises `ConfigError` before that for what is missing."""
    automations.check(changes)
    prepare(conf)
    client = get_client(sync_client=True)
    changed = [change.wanted for change in changes if change.wanted is not None and change.action != "keep"]
    for change in changes:
        if change.action == "remove":
            automations.remove(client, change.name)
            client.delete_deployment(client.read_deployment_by_name(change.name).id)
    for wanted in changed:
        _apply(wanted)
    for wanted in changed:  # a trigger may name any of them
        automations.apply(client, wanted)


def _schedule(conf: DeploymentConf) -> Schedule | None:
    found = conf.schedule
    if found is None:
        return None
    if isinstance(found, CronConf):
        return Cron(found.cron, timezone=found.timezone, active=conf.active)
    if isinstance(found, IntervalConf):
        return Interval(found.every, timezone=found.timezone, active=conf.active)
    return RRule(found.rrule, timezone=found.timezone, active=conf.active)


def _apply(wanted: Wanted) -> None:
    """Put a deployment in force."""
    one_at_a_time = {"skip": ConcurrencyLimitStrategy.CANCEL_NEW, "queue": ConcurrencyLimitStrategy.ENQUEUE}
    strategy = one_at_a_time.get(wanted.conf.when_running)
    schedule = _schedule(wanted.conf)
    made = worker_flows.pipeline.with_options(name=wanted.flow).to_deployment(
        wanted.name,
        schedules=[schedule] if schedule else [],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=strategy) if strategy else None,
        parameters={
            "recipe": wanted.recipe,
            "until": wanted.conf.until,
            "refresh": list(wanted.conf.refresh),
            "replace": wanted.conf.when_running == "cancel",
        },
        description=wanted.description,
        tags=wanted.tags,
        work_pool_name=wanted.pool,
        job_variables={"env": {**BEATING, **SAFE, FOLDER: str(wanted.folder)}},  # a working_dir is imported from
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)
    made.apply()


def prepare(conf: ServicesConf) -> None:
    """What deployments need on the server: the work pool, and the automation that ends runs whose worker died."""
    client = get_client(sync_client=True)
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=conf.pool, type="process", description="runs of fromzero"))
    client.update_work_pool(conf.pool, WorkPoolUpdate(is_paused=False))  # `down` pauses it
    asking = worker_flows.approval.to_deployment(
        "approval",
        description="Asks a person whether a model that the gate accepted becomes champion (approval.by=human).",
        work_pool_name=conf.pool,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(asking, RunnerDeployment)
    asking.apply()
    known = client.read_automations_by_name(CRASHED.name)
    if known:
        client.update_automation(known[0].id, CRASHED)
    else:
        client.create_automation(CRASHED)
