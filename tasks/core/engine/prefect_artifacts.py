"""What a run shows on Prefect's pages: markdown, and how far a task run is."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import copy_context
from typing import cast
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from tasks.core.engine.reporting import Page
from tasks.core.events import Event


def publish(page: Page) -> None:
    """Make an artifact of a page."""
    create_markdown_artifact(key=page.key, markdown=page.markdown, description=page.title)


def progress_shown(name: str) -> Callable[[Event], None]:
    """Shows how far the present task run is, from any thread: one artifact under a key made from `name`."""
    key = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    context, made = copy_context(), list[UUID]()

    def show(event: Event) -> None:
        if made:
            context.run(update_progress_artifact, made[0], 100 * event.share, event.whole)
        else:
            made.append(cast("UUID", context.run(create_progress_artifact, 100 * event.share, key, event.whole)))

    return show
