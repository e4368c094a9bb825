"""A copy of the project that may be edited, and what processes started in it say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tasks.core.interpreter import ROOT


def says(script: str, *path: Path, **environ: str) -> Any:
    """The JSON that a script prints last, which imports from folders of `path`."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **environ}
    ran = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, env=env)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


class ProjectCopy:
    """The code in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        for name in ("flows", "tasks", "conf", "tests"):
            ignored = shutil.ignore_patterns("__pycache__", "results", "data")
            shutil.copytree(ROOT / name, self.root / name, ignore=ignored)

    def says(self, script: str) -> Any:
        """The JSON that a script prints last, which imports from the copy."""
        return says(script, self.root)

    def edit(self, path: str, old: str, new: str) -> None:
        """Put `new` where a file says `old`."""
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new, 1))
