"""How a Python of ours is started: it finds our code and libraries, and nothing that lies where a person stands."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder that holds flows/, tasks/ and conf/."""
SAFE = {"PYTHONSAFEPATH": "1"}
"""Keeps Python from importing from the folder in which it is started; handed on to all that it starts."""


def command(*words: str) -> list[str]:
    """This interpreter with `-m MODULE …` or `-c CODE …`."""
    return [sys.executable, "-P", *words]


def environment() -> dict[str, str]:
    """This process's environment as such an interpreter needs it."""
    return {**os.environ, **SAFE, "PYTHONPATH": os.pathsep.join(_search_path())}


def _search_path() -> list[str]:
    """Our code first, unless it is installed; of the user's PYTHONPATH what is not the folder where they stand."""
    installed = str(ROOT) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in given if Path(entry).is_absolute() and Path(entry).resolve() != Path.cwd()]
    return list(dict.fromkeys([*([] if installed else [str(ROOT)]), *kept]))
