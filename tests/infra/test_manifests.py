"""infra/kubernetes: rendered by kubectl, against Kubernetes' own schemas, and what its parts say of each other."""

from __future__ import annotations

from itertools import product
from typing import Any

import kubernetes_validate
import pytest

from tests.infra.containers import passwords, services
from tests.infra.dockerfile import image
from tests.infra.manifests import KUBERNETES, containers, environ, of_kind, pods, rendered

FOLDERS = ["overlays/cpu", "overlays/gpu", "pretrain"]
VERSIONS = ["1.31", "1.37"]
"""The oldest that the training Job needs, and the newest whose schemas there are."""
SERVERS = {"postgres": "postgres", "prefect": "prefect", "mlflow": "mlflow", "s3": "s3"}
CLIENTS = {"runner": "worker", "gpu-worker": "gpu-worker"}
"""Workloads that run what services of compose.yaml run."""


def everything(folder: str) -> list[dict[str, Any]]:
    """What is in the namespace once a folder is applied: a training goes beside the servers."""
    return [*rendered("overlays/gpu"), *rendered(folder)] if folder == "pretrain" else rendered(folder)


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector chooses pods with these labels."""
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def test_every_folder_with_a_kustomization_is_tested() -> None:
    found = {str(path.parent.relative_to(KUBERNETES)) for path in KUBERNETES.rglob("kustomization.yaml")}
    assert found == {*FOLDERS, "base", "s3"}


@pytest.mark.parametrize(("folder", "version"), list(product(FOLDERS, VERSIONS)))
def test_kubernetes_would_take_every_object_without_an_unknown_field(folder: str, version: str) -> None:
    found = rendered(folder)
    for one in found:
        kubernetes_validate.validate(one, version, strict=True)
    broken = next(one for one in found if one["kind"] in ("Deployment", "Job"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**broken, "spec": {**broken["spec"], "odd": 1}}, version, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_is_as_the_restricted_standard_wants_it_and_says_what_it_takes(folder: str) -> None:
    user = int(image().user.partition(":")[0])
    for name, _, pod in pods(rendered(folder)):
        assert pod["automountServiceAccountToken"] is False, name
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True and security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert security["runAsUser"] == (999 if name == "postgres" else user), name
        for one in containers(pod):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }, name  # fmt: skip
            assert {"cpu", "memory"} <= set(one["resources"]["requests"]), name
            assert "memory" in one["resources"]["limits"], name
            assert "latest" not in one["image"] and ":" in one["image"], name
            mounted = {mount["mountPath"] for mount in one["volumeMounts"]}
            assert "/tmp" in mounted, name
            assert name in ("postgres", "s3", "bucket") or set(image().volumes) <= mounted, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_whatever_is_referred_to_is_there(folder: str) -> None:
    found = everything(folder)
    maps, claims = of_kind(found, "ConfigMap"), of_kind(found, "PersistentVolumeClaim")
    for name, labels, pod in pods(found):
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        templates = of_kind(found, "StatefulSet").get(name, {"spec": {}})["spec"].get("volumeClaimTemplates", ())
        for volume in volumes.values():
            if "configMap" in volume:
                data = maps[volume["configMap"]["name"]]["data"]
                assert {item["key"] for item in volume["configMap"].get("items", ())} <= set(data), name
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, name
        known = {*volumes, *(template["metadata"]["name"] for template in templates)}
        for one in containers(pod):
            assert {mount["name"] for mount in one["volumeMounts"]} <= known, name
            environ(found, one, passwords())
            ports = {port["name"] for port in one.get("ports", ())}
            for probe in (one.get(kind) for kind in ("startupProbe", "readinessProbe", "livenessProbe")):
                assert probe is None or "exec" in probe or probe["httpGet"]["port"] in ports, name
        assert labels["labels"]["app.kubernetes.io/name"] == name
    for kind in ("Service", "PodDisruptionBudget"):
        for name, one in of_kind(found, kind).items():
            selector = one["spec"]["selector"]
            if selector == {"job-name": name}:
                continue
            selector = selector if kind == "PodDisruptionBudget" else {"matchLabels": selector}
            chosen = [pod for _, labels, pod in pods(found) if selects(selector, labels["labels"])]
            assert len(chosen) == 1, name
            ports = {port["name"] for one in containers(chosen[0]) for port in one.get("ports", ())}
            assert kind != "Service" or {port["targetPort"] for port in one["spec"]["ports"]} <= ports, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_whoever_is_asked_by_name_lets_the_asker_in_and_nobody_else_is_let_in(folder: str) -> None:
    found = everything(folder)
    policies = of_kind(found, "NetworkPolicy").values()
    services = of_kind(found, "Service")
    labelled = {name: labels["labels"] for name, labels, _ in pods(found)}

    def lets_in(asker: str, asked: str, port: int) -> bool:
        """Whether the policies that choose the asked one let the asker through (one at least chooses everybody)."""
        rules = [rule for one in policies if selects(one["spec"]["podSelector"], labelled[asked])
                 for rule in one["spec"].get("ingress", ())]  # fmt: skip
        return any(
            port in [given["port"] for given in rule.get("ports", [{"port": port}])]
            and any(selects(source["podSelector"], labelled[asker]) for source in rule["from"])
            for rule in rules
        )

    assert any(one["spec"]["podSelector"] == {} and "ingress" not in one["spec"] for one in policies)
    asked_by_somebody = set()
    for (asker, _, pod), (asked, service) in product(pods(found), services.items()):
        port = service["spec"]["ports"][0]["port"] if "ports" in service["spec"] else 0
        said = " ".join(v for one in containers(pod) for v in environ(found, one, passwords()).values())
        needs = f"{asked}:{port}" in said and asker != asked
        assert not needs or lets_in(asker, asked, port), f"{asker} asks {asked}"
        if needs:
            asked_by_somebody.add(asked)
    assert set(SERVERS) <= asked_by_somebody
    assert not lets_in("cpu-worker", "postgres", 5432) and not lets_in("postgres", "prefect", 4200)


def test_pods_run_what_the_services_of_compose_run_with_the_same_environment() -> None:
    found, secret = rendered("overlays/gpu"), passwords()
    known = {name: pod for name, _, pod in pods(found)}
    composed = services(secret)
    for name, service in {**SERVERS, **CLIENTS}.items():
        one, other = known[name]["containers"][0], composed[service]
        command = [*one.get("command", ()), *one["args"]]
        assert command == [*(other.get("entrypoint") or ()), *other["command"]], name
        expected = {key: value for key, value in other["environment"].items() if key != "HEALTH"}
        assert environ(found, one, secret) == expected, name
    for name, service in {"mlflow": "mlflow-database", "runner": "schedules"}.items():
        (one,) = known[name]["initContainers"]
        # compose reads a dollar only if there are two
        assert one["args"] == composed[service]["command"], name
        assert environ(found, one, secret) == composed[service]["environment"], name
    assert known["bucket"]["containers"][0]["args"] == composed["bucket"]["command"]


def test_what_trains_has_as_long_to_save_as_it_may_take_and_one_goes_at_a_time() -> None:
    from tasks.core.engine.launcher import GRACE

    found = everything("pretrain")
    for name, _, pod in pods(found):
        if name in ("runner", "cpu-worker", "gpu-worker", "pretrain"):
            assert pod["terminationGracePeriodSeconds"] >= 2 * GRACE + 60, name
    budgets = of_kind(found, "PodDisruptionBudget")
    assert set(budgets) == {"postgres", "prefect", "mlflow", "runner", "s3", "cpu-worker", "gpu-worker"}
    assert {one["spec"]["maxUnavailable"] for one in budgets.values()} == {1}


def test_what_wants_gpus_waits_in_the_queue_of_kueue() -> None:
    for name, one in of_kind(everything("pretrain"), "Deployment", "StatefulSet", "Job").items():
        pod = one["spec"]["template"]["spec"]
        gpus = any("nvidia.com/gpu" in container["resources"]["limits"] for container in containers(pod))
        assert ("kueue.x-k8s.io/queue-name" in one["metadata"].get("labels", {})) == gpus, name
        assert all("cuda" in container["image"] for container in containers(pod)) == gpus, name
