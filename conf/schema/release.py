"""Options of registering and promoting models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.base import Conf, RunConf


class CardConf(RunConf):
    """What a model's card shows."""

    samples: Annotated[int, Field(ge=0, le=20)] = 3
    """Sample generations shown in the card; 0 for none."""


class RegisterAs(Conf):
    """Under which name a model is registered in MLflow."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    """Name of the registered model: letters, digits, - _ and dots."""
    primary: bool = False
    """Whether this is the model that a run is about; one of a recipe's models."""
    card: CardConf = CardConf()
    """What its card shows."""


class RegisterConf(RegisterAs):
    """What registering gets."""

    kind: str
    """The kind of the model."""


class ApprovalConf(Conf):
    """Who has the last word on what the gates accept."""

    by: Literal["gate", "human"] = "gate"
    """The gate, or human: a person, who is asked by a form in Prefect's pages (needs `fromzero up`)."""
    hours: float = Field(72.0, gt=0, le=24 * 365)
    """Hours that a person has to answer; no answer is a refusal."""
