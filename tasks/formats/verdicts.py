"""What validation says of data: the verdict with its pages, what is set aside, and what stages lost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.formats.document_files import Place

VERDICT = "verdict.json"
QUARANTINE = "quarantine.json"
LOSSES = "losses.json"
INDEX = "index.html"
DATA_DOCS = "data_docs"
"""Under aux/: the folder with the pages of a verdict, the first of which is `INDEX`."""


def write_verdict(place: Place, outcomes: Sequence[Mapping[str, Any]], corpus: Mapping[str, Any]) -> None:
    """Write the outcome of each expectation, and the row of the corpus that they are about."""
    said = json.dumps({"outcomes": outcomes, "corpus": corpus}, indent=1, sort_keys=True, ensure_ascii=False)
    (place / VERDICT).write_text(f"{said}\n")


def outcomes_in(place: Place) -> list[dict[str, Any]]:
    """The outcomes of a verdict."""
    return list(json.loads((place / VERDICT).read_bytes())["outcomes"])


def corpus_in(place: Place) -> dict[str, Any]:
    """The corpus' row of a verdict."""
    return dict(json.loads((place / VERDICT).read_bytes())["corpus"])


def write_quarantine(place: Place, shard: str, failed: Sequence[str]) -> None:
    """Write for which expectations a shard is set aside: none if it is not."""
    said = json.dumps({"failed": failed}, indent=1, ensure_ascii=False)
    (place / f"{shard}/{QUARANTINE}").write_text(f"{said}\n")


def failed_in(place: Place) -> list[str]:
    """For which expectations a shard, of which this is the part of the verdict, is set aside."""
    return list(json.loads((place / QUARANTINE).read_bytes())["failed"])


def set_aside_in(verdict: Place | None, shard: str) -> bool:
    """Whether a verdict, if there is one, set this shard aside."""
    file = None if verdict is None else verdict / f"{shard}/{QUARANTINE}"
    return file is not None and file.exists() and bool(json.loads(file.read_bytes())["failed"])


def write_losses(place: Place, losses: Sequence[Mapping[str, Any]]) -> None:
    """Write what each stage dropped of each source."""
    (place / LOSSES).write_text(json.dumps(losses, indent=1, ensure_ascii=False) + "\n")


def losses_in(place: Place) -> list[dict[str, Any]]:
    """What each stage dropped of each source."""
    return list(json.loads((place / LOSSES).read_bytes()))
