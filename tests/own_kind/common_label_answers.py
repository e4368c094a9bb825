"""How a count of labels is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def load(folder: Path) -> tuple[Any, Any]:
    """The labels."""
    return json.loads((folder / "labels.json").read_text()), None


def answer(model: Any, encoder: Any, texts: Sequence[str], task: dict[str, Any]) -> list[dict[str, Any]]:
    """The most frequent one, for each text."""
    return [{"label": next(iter(model))} for _ in texts]
