"""What the engine asks of whoever makes pages for people, and what it tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tasks.core.engine.workspace import Outcome
from tasks.core.run_warnings import Warned
from tasks.core.services import links


@dataclass(frozen=True)
class Page:
    """Markdown under a key that stays the same from run to run, so that its versions line up."""

    key: str
    markdown: str
    title: str = ""


@dataclass
class Run:
    """The pipeline run that pages are about."""

    home: Path
    recipe: str = ""
    id: str = ""
    name: str = ""
    mlflow: tuple[str, str] | None = None
    """Experiment and run in MLflow, if it made something."""

    @property
    def prefect_page(self) -> str:
        """The address of its page in Prefect."""
        return links.flow_run(self.home, self.id)

    @property
    def mlflow_page(self) -> str | None:
        """The address of its page in MLflow."""
        return links.mlflow_run(self.home, *self.mlflow) if self.mlflow else None


@dataclass(frozen=True)
class Made:
    """One artifact, or effect, that this run has made."""

    step: str
    label: str
    stats: dict[str, Any]
    folder: Path | None = None
    """Holds content/ and aux/; None of an effect."""
    inputs: tuple[Any, ...] = ()
    """What the step was called on: artifacts, tuples of them, JSON values."""
    about: dict[str, Any] = field(default_factory=dict)
    """Its manifest's key, digest, and what `made_by` says."""
    warnings: Sequence[Warned] = ()
    """What it warns of."""


class Pages(Protocol):
    """Pages and pictures of what a run makes."""

    def draw(self, step: str, folder: Path) -> None:
        """Pictures of what a tracked step has just made, as PNG in aux/plots/ of its work directory."""

    def page(self, run: Run, made: Made) -> Page | None:
        """The page of one artifact; None for one that needs none."""

    def stages(self, run: Run, step: str, outcomes: Sequence[Outcome]) -> list[Page]:
        """Pages about many artifacts that are complete once the calls of `step` have ended; only if any is new."""

    def summary(self, run: Run, state: str, outcomes: Sequence[Outcome]) -> Page:
        """The page about the whole run."""
