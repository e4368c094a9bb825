"""`python -P tests/plan_damaged.py RECIPE SEED`: damage each artifact in turn; what the plan says of it, as JSON.

Run with the project on PYTHONPATH. Every artifact is damaged twice, a file deleted and a file cut short, planned, and
mended again.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from flows.cli.main import main
from tasks.core.artifact import Manifest
from tasks.core.store.open import open_store


def planned(recipe: str) -> list[dict[str, Any]]:
    """The rows of `fromzero plan`."""
    ran = CliRunner().invoke(main, ["plan", recipe, "--json"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    rows: list[dict[str, Any]] = json.loads(ran.stdout)["steps"]
    return rows


def damage(folder: Path, manifest: Manifest, draw: random.Random, how: str) -> tuple[Path, bytes]:
    """Delete or cut one file, or the manifest itself; the file and what it held."""
    paths = [folder / file.path for file in manifest.files if file.size]
    path = draw.choice([*paths, folder.parent / "manifest.json"])
    before = path.read_bytes()
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(before[: draw.randrange(len(before))])
    return path, before


def run(recipe: str, seed: int) -> None:
    """Damage and plan all artifacts."""
    draw, store = random.Random(seed), open_store()
    found = []
    for manifest in list(store.manifests()):
        for how in ("deleted", "cut"):
            path, before = damage(store.local(manifest), manifest, draw, how)
            rows = [row for row in planned(recipe) if row["action"] == "run"]
            path.write_bytes(before)
            found.append({"step": manifest.step, "shard": manifest.shard, "file": path.name, "how": how, "rows": rows})
    print(json.dumps({"damaged": found, "after": [row["action"] for row in planned(recipe)]}))


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
