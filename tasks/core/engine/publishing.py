"""What people read in Prefect and MLflow of what a run makes. What is done is done: none of it can fail a run."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tasks.core import run_warnings
from tasks.core.engine.reporting import Made, Page, Pages, Run
from tasks.core.engine.workspace import Job, Outcome
from tasks.core.step import Step
from tasks.core.store.store import Store
from tasks.core.tracking.tracking import PICTURES
from tasks.core.workdir import Workdir

_log = logging.getLogger(__name__)


class Publisher:
    """Hangs what `pages` makes where people look: nothing at all if there is none."""

    def __init__(self, pages: Pages | None, publish: Callable[[Page], object]) -> None:
        self.pages, self._publish = pages, publish

    def draw(self, step: Step, work: Workdir) -> None:
        """Pictures beside the artifact and in the scratch, from where they go to MLflow."""
        with presenting(f"pictures of {step.name}"):
            if self.pages is not None:
                self.pages.draw(step.name, work.root)
                if (work.aux / PICTURES).exists():
                    shutil.copytree(work.aux / PICTURES, work.scratch / PICTURES, dirs_exist_ok=True)

    def show(self, run: Run, store: Store, job: Job, stats: dict[str, Any]) -> None:
        """A Prefect artifact about one that a person may want to open: none for each shard of many."""
        if self.pages is None or job.call.shard is not None:
            return
        with presenting(f"the page of {job.call.label}"):
            folder = store.local(job.manifest) if job.manifest is not None else None
            about = {"ref": job.path, "digest": job.manifest.digest, **job.manifest.made_by} if job.manifest else {}
            warnings = run_warnings.of([replace(job.outcome, stats=stats)])
            made = Made(job.call.step.name, job.call.label, stats, folder, job.call.inputs, about, warnings)
            if page := self.pages.page(run, made):
                self._publish(page)

    def show_stages(self, run: Run, step: Step, outcomes: Sequence[Outcome]) -> None:
        """Prefect artifacts about many artifacts at once, where any of them is new."""
        if self.pages is not None and any(outcome.state == "completed" for outcome in outcomes):
            with presenting(f"the pages after {step.name}"):
                for page in self.pages.stages(run, step.name, outcomes):
                    self._publish(page)

    def show_summary(self, run: Run, state: str, outcomes: Sequence[Outcome]) -> None:
        """The flow run's own page: made or reused, and where to look further."""
        if self.pages is not None:
            with presenting("the summary"):
                self._publish(self.pages.summary(run, state, outcomes))


@contextmanager
def presenting(what: str) -> Iterator[None]:
    """Log that `what` cannot be shown, and go on."""
    try:
        yield
    except Exception:
        _log.warning("%s cannot be shown", what, exc_info=True)
