"""The suite carries out a seeded choice of the faults, `make chaos` all of them."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHOSEN = {"test_helpers": 2, "test_pipeline": 3, "test_pretrain": 2, "test_services": 2, "test_toy": 3}
"""How many of a file's faults the suite has; all of the other files."""
SEED = os.environ.get("FROMZERO_CHAOS", "16")
"""What the choice follows from; `all` leaves nothing out."""


def pytest_report_header() -> str:
    """How to repeat the choice."""
    return f"faults: FROMZERO_CHAOS={SEED}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not chosen, where a whole folder is asked for: a file or a test that is named is run whole."""
    named = [argument for argument in config.args if "tests/chaos/" in argument.replace(os.sep, "/")]
    if SEED == "all" or named:
        return
    by_file = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.path.parent == HERE:
            by_file[item.path.stem].append(item)
    left_out = {
        item
        for name, found in by_file.items()
        if name in CHOSEN and len(found) > CHOSEN[name]
        for item in set(found) - set(random.Random(f"{SEED} {name}").sample(found, CHOSEN[name]))
    }
    items[:] = [item for item in items if item not in left_out]
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
