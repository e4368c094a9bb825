"""Triggers and notifications put in force: automations, the blocks that they notify by, and looks at the sources."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Interval
from prefect.types.entrypoint import EntrypointType

from conf.schema.deployment import DeploymentConf, FailureTrigger, NewDataTrigger
from flows.deploy import automation_rows, worker_flows
from flows.deploy.deployment_files import Change, Wanted
from flows.runs.standing import FOLDER
from tasks.core.errors import ConfigError
from tasks.core.interpreter import SAFE
from tasks.core.services import prefect_api, run_events

WATCH = "watch"
"""Prefect's name of the flow that looks at sources."""
FAILED = ("prefect.flow-run.Failed", "prefect.flow-run.Crashed")
SAID = "{{ event.payload.said }}"
OF_A_RUN = "{{ flow_run.name }}: {{ flow_run.state.message }}\n{{ flow_run | ui_url }}"
"""What a notification says, of an event of ours and of a run."""


def check(changes: list[Change]) -> None:
    """Raise `ConfigError` for an address that no variable holds, a block or a deployment that is not there, before
    anything is put in force."""
    url = os.environ["PREFECT_API_URL"]
    for change in changes:
        conf = change.wanted.conf if change.wanted is not None and change.action != "keep" else DeploymentConf()
        for way, where in (notify.way for notify in conf.notify):
            if way != "block" and not os.environ.get(where):
                raise ConfigError(f"{change.name}: {way} names {where}, which is not set: export it, then deploy again")
            if way == "block" and _block_there(url, where) is None:
                raise ConfigError(f"{change.name}: Prefect has no block {where}: make it in its pages, or fix the name")
        for trigger in conf.triggers:
            of = trigger.of if isinstance(trigger, FailureTrigger) else None
            known = {other.name for other in changes if other.action != "remove"}
            if of and of not in known and prefect_api.ask(url, f"deployments/name/{of}") is None:
                raise ConfigError(f"{change.name}: triggers: {of} is not deployed: deploy that first, or with this one")


def _block_there(url: str, block: str) -> dict[str, Any] | None:
    kind, _, name = block.partition("/")
    found = prefect_api.ask(url, f"block_types/slug/{kind}/block_documents/name/{name}")
    return None if found is None else dict(found)


def remove(client: SyncPrefectClient, name: str) -> None:
    """Take a deployment's automations and its looks at the sources out of force."""
    for automation, about in list(automation_rows.made(os.environ["PREFECT_API_URL"])):
        if about["deployment"] == name:
            client.delete_automation(UUID(automation["id"]))
    with suppress(ObjectNotFound):
        client.delete_deployment(client.read_deployment_by_name(f"{WATCH}/{_slug(name)}").id)


def apply(client: SyncPrefectClient, wanted: Wanted) -> None:
    """Put a deployment's triggers and notifications in force, in place of those before."""
    name = f"{wanted.flow}/{wanted.name}"
    deployment = client.read_deployment_by_name(name).id
    remove(client, name)
    for label, row in automation_rows.trigger_rows(wanted.conf).items():
        said = automation_rows.description(name, "triggers", label, row)
        trigger = _of_trigger(client, name, row)
        _create(client, f"{name}: run on {label}", said, trigger, RunDeployment(deployment_id=deployment))
    for label, row in automation_rows.notify_rows(wanted.conf).items():
        block = _block(client, f"{name} {label}", row)
        for what in row["about"]:
            said = automation_rows.description(name, "notify", label, row, what)
            body = OF_A_RUN if what in ("failure", "refused") else SAID
            action = SendNotification(block_document_id=block, subject=f"fromzero: {what} of {name}", body=body)
            trigger = _of_event(wanted, deployment, what)
            _create(client, f"{name}: tell {label} of {what}", said, trigger, action)
    for watch in (trigger for trigger in wanted.conf.triggers if isinstance(trigger, NewDataTrigger)):
        _watch(wanted, name, watch)


def _create(client: SyncPrefectClient, name: str, said: str, trigger: EventTrigger, action: Any) -> None:
    client.create_automation(AutomationCore(name=name, description=said, trigger=trigger, actions=[action]))


def _of_trigger(client: SyncPrefectClient, name: str, row: dict[str, Any]) -> EventTrigger:
    if row["kind"] == "failure":
        return _on_run(FAILED, client.read_deployment_by_name(row["of"]).id)
    if row["kind"] == "new_data":
        return _on(run_events.NEW_DATA, run_events.resource("deployment", name))
    if row["kind"] == "promotion":
        return _on(run_events.PROMOTION, run_events.resource("model", row["model"]))
    return _on(run_events.DRIFT, run_events.resource("recipe", row["of"]))


def _of_event(wanted: Wanted, deployment: UUID, what: str) -> EventTrigger:
    if what in ("failure", "refused"):
        return _on_run(FAILED if what == "failure" else ("prefect.flow-run.Refused",), deployment)
    if what == "promotion":
        models = [conf["register"]["name"] for conf in wanted.recipe["models"].values() if conf and conf["register"]]
        return _on(run_events.PROMOTION, *(run_events.resource("model", model) for model in models))
    if what == "new_data":
        return _on(run_events.NEW_DATA, run_events.resource("deployment", f"{wanted.flow}/{wanted.name}"))
    event = run_events.DRIFT if what == "drift" else run_events.QUARANTINE
    return _on(event, run_events.resource("recipe", wanted.flow))


def _on(event: str, *resources: str) -> EventTrigger:
    chosen = ResourceSpecification({"prefect.resource.id": list(resources) or ["fromzero.none"]})
    return EventTrigger(expect={event}, match=chosen, posture=Posture.Reactive, threshold=1, within=timedelta(0))


def _on_run(events: tuple[str, ...], deployment: UUID) -> EventTrigger:
    of = {"prefect.resource.id": [f"prefect.deployment.{deployment}"], "prefect.resource.role": ["deployment"]}
    return EventTrigger(
        expect=set(events), match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        match_related=ResourceSpecification(of), posture=Posture.Reactive, threshold=1, within=timedelta(0),
    )  # fmt: skip


def _block(client: SyncPrefectClient, name: str, row: dict[str, Any]) -> UUID:
    """The id of the block to notify by; one of ours is made, or brought up to date, of what its variable holds."""
    if block := row.get("block"):
        kind, _, own = block.partition("/")
        return client.read_block_document_by_name(own, kind).id
    made: SlackWebhook | CustomWebhookNotificationBlock
    if "webhook_env" in row:
        body = {"subject": "{{subject}}", "body": "{{body}}"}
        made = CustomWebhookNotificationBlock(
            name=name, url="{{url}}", json_data=body, secrets={"url": os.environ[row["webhook_env"]]}
        )
    else:  # Prefect's block for Slack hands its URL to Apprise, which knows mailto as well
        made = SlackWebhook(url=os.environ[row.get("slack_env") or row["email_env"]])
    return UUID(str(made.save(_slug(name), overwrite=True)))


def _slug(name: str) -> str:
    return f"fromzero-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"


def _watch(wanted: Wanted, name: str, trigger: NewDataTrigger) -> None:
    """The looks at a deployment's sources, as a deployment of their own."""
    made = worker_flows.watch.to_deployment(
        _slug(name),
        schedules=[Interval(timedelta(minutes=trigger.minutes), active=wanted.conf.active)],
        parameters={"recipe": wanted.recipe, "deployment": name, "sources": list(trigger.sources)},
        description=f"Looks whether the sources of {name} have what no run has fetched.",
        work_pool_name=wanted.pool,
        job_variables={"env": {**SAFE, FOLDER: str(wanted.folder)}},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)
    made.apply()
