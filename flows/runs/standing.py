"""Where a person stands must not matter: settings of other programs that lie there are not ours."""

from __future__ import annotations

import contextlib
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tasks.core.errors import HostError

FOLDER = "FROMZERO_FOLDER"
"""Environment variable of a deployment's runs: where the relative paths of its recipe start."""


def prefect_by_environment() -> None:
    """Let Prefect take its settings from the environment only.

    Else it reads .env, prefect.toml and pyproject.toml of the folder where it is imported, and again later: settings
    that are meant for another server.
    """
    with contextlib.chdir(Path(str(find_spec("prefect").origin)).parent):  # type: ignore[union-attr]
        import_module("prefect.context")  # which makes the settings
        from prefect.settings.base import PrefectBaseSettings
    found = [PrefectBaseSettings]
    while found:
        settings = found.pop()
        found += settings.__subclasses__()
        nothing = {"env_file": None, "toml_file": (), "pyproject_toml_table_header": ("prefect settings of nobody",)}
        settings.model_config.update(nothing)  # type: ignore[typeddict-item]


def go_to_folder() -> None:
    """On a worker: stand where the deployment's file is."""
    if folder := os.environ.get(FOLDER):
        try:
            os.chdir(folder)
        except OSError as error:
            raise HostError(
                f"the folder of this deployment, {folder}, cannot be entered here ({error.strerror}): bring it back, "
                "or `fromzero deploy` the file from where it is now"
            ) from error
