"""What has to be the same on both sides of a body that runs on another machine."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of Python (major and minor), fromzero and distributions; "missing" for one that is not there."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in sorted({"fromzero", *libraries}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """What differs between the run (`there`) and this machine, in words; empty if nothing does."""
    return ", ".join(
        f"{name} {here.get(name, 'missing')} (the run has {wanted})"
        for name, wanted in there.items()
        if here.get(name) != wanted
    )
