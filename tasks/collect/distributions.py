"""Installed Python distributions: found by name, with their licence."""

from __future__ import annotations

import re
from importlib import metadata

from tasks.core.errors import DataError


def find(name: str) -> metadata.Distribution:
    """The installed distribution; raises `DataError` with what to install if there is none."""
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise DataError(
            f"distribution {name!r} is not installed here: run `pip install {name}`, or take it out of the source"
        ) from None


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(installed: metadata.Distribution) -> str:
    """The licence that a distribution's metadata name, in one line; "unknown" if they name none."""
    about = installed.metadata.json
    named = str(about.get("license_expression") or about.get("license") or "").strip()
    if named and len(named) <= 100 and "\n" not in named:
        return named
    classified = [name.split(" :: ")[-1] for name in about.get("classifier", ()) if name.startswith("License :: ")]
    return ", ".join(classified) or named.split("\n")[0][:100] or "unknown"
