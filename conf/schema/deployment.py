"""A deployment: a recipe that runs by itself, on a schedule."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from conf.schema.base import RunConf


class _Zoned(RunConf):
    timezone: str = "UTC"
    """Time zone of the schedule, such as Europe/Berlin: it follows summer time."""

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is no time zone: names look like UTC or Europe/Berlin")
        return value


class CronConf(_Zoned):
    """By the clock."""

    kind: Literal["cron"]
    """Always cron."""
    cron: str
    """Minute, hour, day of the month, month, day of the week: `0 2 * * *` is two o'clock every night."""

    @field_validator("cron")
    @classmethod
    def _readable(cls, value: str) -> str:
        from prefect.client.schemas.schedules import CronSchedule

        try:
            return CronSchedule(cron=value).cron
        except ValueError as error:
            raise ValueError(f"{value!r} is no cron line: five fields, such as `0 2 * * *`") from error


class IntervalConf(_Zoned):
    """Again and again after the same time."""

    kind: Literal["interval"]
    """Always interval."""
    minutes: float = Field(ge=1)
    """Minutes from one start to the next."""

    @property
    def every(self) -> timedelta:
        """The interval."""
        return timedelta(minutes=self.minutes)


class RRuleConf(_Zoned):
    """By a recurrence rule of RFC 5545: for what cron cannot say."""

    kind: Literal["rrule"]
    """Always rrule."""
    rrule: str
    """Such as `FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=22`, the last Friday of each month."""

    @field_validator("rrule")
    @classmethod
    def _readable(cls, value: str) -> str:
        from dateutil.rrule import rrulestr

        rule = value.strip().removeprefix("RRULE:")
        try:
            rrulestr(rule)
        except ValueError as error:
            raise ValueError(f"{value!r} is no recurrence rule ({error})") from error
        if len(rule.splitlines()) > 1:
            raise ValueError(f"{value!r} has more than one line: give the rule alone, such as FREQ=WEEKLY;BYDAY=MO")
        return rule


class NewDataTrigger(RunConf):
    """The sources have what no run has fetched yet."""

    kind: Literal["new_data"]
    """Always new_data."""
    minutes: float = Field(15, ge=1)
    """Minutes between looks at the sources, which the worker takes: seconds each."""
    sources: tuple[str, ...] = ()
    """Sources of the recipe that count; all if none is named."""


class PromotionTrigger(RunConf):
    """A model became champion, by a gate or by hand."""

    kind: Literal["promotion"]
    """Always promotion."""
    model: str
    """Its registered name."""


class DriftTrigger(RunConf):
    """Validation found that a recipe's corpus has moved from the last accepted one by more than data.validation.drift
    allows."""

    kind: Literal["drift"]
    """Always drift."""
    of: str
    """The recipe's name."""


class FailureTrigger(RunConf):
    """A run of a deployment failed or crashed."""

    kind: Literal["failure"]
    """Always failure."""
    of: str = Field(pattern=r"^[^/]+/[^/]+$")
    """The deployment, RECIPE/FILE: not this one, which would run again and again."""


TriggerConf = Annotated[NewDataTrigger | PromotionTrigger | DriftTrigger | FailureTrigger, Field(discriminator="kind")]


class NotifyConf(RunConf):
    """Who hears of what. Addresses are in environment variables when `fromzero deploy` reads this, which keeps them in
    a block of Prefect's, or in a block that is there."""

    about: tuple[Literal["failure", "refused", "promotion", "drift", "quarantine", "new_data"], ...] = ("failure",)
    """A run of this deployment failed or crashed; the gate refused; a model of the recipe was promoted; its corpus
    moved; shards were set aside; there are new data (which takes a trigger of that kind)."""
    slack_env: str | None = None
    """Variable with the URL of a webhook of Slack's."""
    webhook_env: str | None = None
    """Variable with a URL to which {"subject", "body"} is posted as JSON."""
    email_env: str | None = None
    """Variable with mailtos://USER:PASSWORD@SERVER/?from=ADDRESS&to=ADDRESS, as Apprise reads it."""
    block: str | None = Field(None, pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")
    """A notification block of Prefect's, TYPE/NAME, such as slack-webhook/team."""

    @property
    def way(self) -> tuple[str, str]:
        """How, and by which variable or block."""
        (found,) = ((name, value) for name in WAYS if (value := getattr(self, name)))
        return found

    @model_validator(mode="after")
    def _one_way(self) -> NotifyConf:
        given = [name for name in WAYS if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"takes one of {', '.join(WAYS)}; given: {' and '.join(given) or 'none'}")
        if "://" in self.way[1]:
            raise ValueError(f"{given[0]} names an environment variable; the address itself stays out of the file")
        return self


WAYS = ("slack_env", "webhook_env", "email_env", "block")


ScheduleConf = Annotated[CronConf | IntervalConf | RRuleConf, Field(discriminator="kind")]


class DeploymentConf(RunConf):
    """A recipe, how it is changed, when it runs, and what happens when a run is under way already."""

    recipe: str = "demo"
    """Name of a recipe, or path of its YAML file, relative to the deployment's file."""
    overrides: tuple[str, ...] = ()
    """KEY=VALUE, as on the command line."""
    until: str | None = None
    """The step after which a run stops; None for all."""
    refresh: tuple[str, ...] = ()
    """Steps, or stages, that every run makes again."""
    schedule: ScheduleConf | None = None
    """When it runs; None for only when somebody asks for it."""
    active: bool = True
    """Whether the schedule is in force. Of times that passed while nothing was up the last one is made up for."""
    triggers: tuple[TriggerConf, ...] = ()
    """What else makes it run."""
    notify: tuple[NotifyConf, ...] = ()
    """Who is told of what."""
    when_running: Literal["skip", "queue", "cancel"] = "skip"
    """When its time comes and the run before is still under way: skip this one, queue it, or cancel the one before
    (for which the worker must have room for both: limit in conf/services.yaml)."""
    description: str = ""
    """Shown in Prefect's page."""
    tags: tuple[str, ...] = ()
    """Shown in Prefect's page, with the recipe's name."""
