"""What infra/kubernetes says, as kubectl renders it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.test_layout import ROOT

KUBERNETES = ROOT / "infra" / "kubernetes"
KUBECTL = Path(sys.executable).parent / "kubectl"


@cache
def _rendered(folder: str) -> str:
    done = subprocess.run([KUBECTL, "kustomize", KUBERNETES / folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(folder: str) -> list[dict[str, Any]]:
    """Everything that `kubectl apply -k` would send."""
    return list(yaml.safe_load_all(_rendered(folder)))


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    """Objects of some kinds by name."""
    return {one["metadata"]["name"]: one for one in objects if one["kind"] in kinds}


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, metadata and specification of the pods of all workloads."""
    for name, one in of_kind(objects, "Deployment", "StatefulSet", "Job").items():
        template = one["spec"]["template"]
        yield name, template["metadata"], template["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod, those that run before first."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def environ(objects: list[dict[str, Any]], container: dict[str, Any], secret: dict[str, str]) -> dict[str, str]:
    """What a container finds in its environment, given the values of the secret."""
    maps = {name: one["data"] for name, one in of_kind(objects, "ConfigMap").items()}
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= maps[source["configMapRef"]["name"]]
    for entry in container.get("env", ()):
        reference = entry.get("valueFrom", {}).get("secretKeyRef")
        assert reference is None or reference["name"] == "fromzero"
        found[entry["name"]] = entry["value"] if reference is None else secret[reference["key"]]
    return found
