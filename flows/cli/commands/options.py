"""What the commands share: arguments, options, the store and what a reference means."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click

from flows.cli.completion import override_keys, recipe_names, step_names

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
POSTGRES = click.option(
    "--postgres", metavar="URL", help="postgresql://USER@HOST:PORT/NAME keeps the records; password in PGPASSWORD."
)


RECIPE = (
    click.argument("recipe", default="demo", shell_complete=recipe_names),
    click.argument("overrides", nargs=-1, metavar="[KEY=VALUE …]", shell_complete=override_keys),
    click.option("--until", metavar="STEP", help="Stop after this step.", shell_complete=step_names),
    click.option("--refresh", multiple=True, metavar="STEP", help="Make a step (or a stage's steps) again.",
                 shell_complete=step_names),
    click.option("--on-code-change", type=click.Choice(["adopt", "rerun"]),
                 help="For expensive steps whose code has changed."),
    AS_JSON,
)  # fmt: skip


def takes_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """What `plan` and `run` take; the command gets the checked recipe first, then `until`, `refresh`, `as_json`."""

    @functools.wraps(command)
    def composed(recipe: str, overrides: tuple[str, ...], on_code_change: str | None, **rest: Any) -> None:
        from conf.compose import compose

        if "=" in recipe:
            recipe, overrides = "demo", (recipe, *overrides)
        extra = (f"engine.on_code_change={on_code_change}",) if on_code_change else ()
        command(compose(recipe, (*overrides, *extra)), **rest)

    for option in reversed(RECIPE):
        composed = option(composed)
    return composed


def open_home() -> Any:
    """The store of this home; FROMZERO_STORE names another one, as JSON."""
    from tasks.core.store.open import home, open_store

    os.environ["FROMZERO_HOME"] = str(home())
    return open_store()


def find(store: Any, ref: str) -> Any:
    """The manifest that a reference means; NAME@… goes through the registry."""
    if "@" in ref:
        from tasks.register import steps as register

        ref = register.artifact_of(ref)
    return store.find(ref)
