"""The files that start pretraining on a cluster: that a shell would read them, and what they say to whom."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from conf.compose import compose
from conf.schema.store import StoreConf
from flows.cli.main import main
from tests.infra.containers import passwords
from tests.infra.manifests import environ, rendered
from tests.test_layout import ROOT

SLURM = ROOT / "infra" / "slurm" / "pretrain.sbatch"
WORKER = ROOT / "infra" / "slurm" / "worker.sbatch"
COMMANDS = """#!/bin/bash
echo "$(basename "$0") $*" >> "$LOG"
case "$(basename "$0") $1" in
"srun "*) exec "${@: -3}" ;;
"fromzero run") trap 'echo saved >> "$LOG"; exit 130' TERM
                until grep -q "fromzero train-node" "$LOG"; do sleep 0.01; done
                kill -TERM "$PPID"; while :; do sleep 0.01; done ;;
"fromzero up") trap 'echo saved >> "$LOG"; exit 0' TERM
               kill -TERM "$PPID"; while :; do sleep 0.01; done ;;
"fromzero train-node") while :; do sleep 0.1; kill -0 "$SCRIPT" || exit 0; done ;;
esac
"""


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment in which the commands of Slurm, and ours, only write down that they were called."""
    for name in ("srun", "scontrol", "fromzero", "hostname"):
        path = tmp_path / ".venv" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(COMMANDS if name != "hostname" else "#!/bin/bash\necho node-1\n")
        path.chmod(0o755)
    slurm = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_NUM_NODES": "3", "SLURM_JOB_ID": "7"}
    names = {"SLURMD_NODENAME": "n1", "LOG": str(tmp_path / "log"), "SCRIPT": str(os.getpid())}
    return {**os.environ, **slurm, **names}


def test_in_slurm_the_first_node_runs_and_the_others_take_part_until_it_saves_and_goes_back_into_the_queue(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    script = f'SCRIPT=$$; export SCRIPT; . "{SLURM}" llama_8b "data.sources.mine.paths=[/shared/a corpus]"'
    with (tmp_path / "errors").open("wb") as errors:
        done = subprocess.run(["bash", "-c", script], env=cluster, stdout=errors, stderr=errors, timeout=60)
    assert done.returncode == 130, (tmp_path / "errors").read_text()
    said = Path(cluster["LOG"]).read_text().splitlines()
    (run,) = (shlex.split(line)[1:] for line in said if line.startswith("fromzero run"))
    assert run[-2:] == ["pretrain.run.nodes=3", "pretrain.run.rendezvous=node-1:29400"]
    assert (
        "srun --nodes=2 --ntasks=2 --exclude=n1 bash -c until fromzero train-node node-1:29400; do sleep 5; done"
        in said
    )
    assert said.index("saved") < said.index("scontrol requeue 7")
    assert re.findall(r"^#SBATCH --signal=B:TERM@(\d+)$", SLURM.read_text(), re.M) == ["300"]


def test_in_slurm_a_worker_saves_and_goes_back_into_the_queue_when_its_time_is_up(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    with (tmp_path / "errors").open("wb") as errors:
        done = subprocess.run(["bash", WORKER, "steps"], env=cluster, stdout=errors, stderr=errors, timeout=60)
    assert done.returncode == 0, (tmp_path / "errors").read_text()
    assert Path(cluster["LOG"]).read_text().splitlines() == ["fromzero up --pool steps", "saved", "scontrol requeue 7"]
    assert re.findall(r"^#SBATCH --signal=B:TERM@(\d+)$", WORKER.read_text(), re.M) == ["300"]


def test_the_kubernetes_job_has_a_pod_for_every_node_and_the_first_is_where_they_meet() -> None:
    found = {one["kind"]: one for one in rendered("pretrain")}
    service, job = found["Service"], found["Job"]
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    names = service["spec"]
    assert names["clusterIP"] == "None" and names["publishNotReadyAddresses"] is True
    assert names["selector"] == {"job-name": job["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    assert pod["restartPolicy"] == "Never", "podFailurePolicy and backoffLimitPerIndex ask for it"
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {"Ignore", "FailJob"}
    others = found["NetworkPolicy"]["spec"]
    reached = [source["podSelector"] for rule in others["ingress"] for source in rule["from"]]
    assert reached == [others["podSelector"]] and "ports" not in others["ingress"][0], (
        "they reach each other, all ports"
    )

    (line,) = re.findall(r"fromzero run (.*?)\n *fi", container["args"][-1].replace("\\\n", ""), re.S)
    recipe, *overrides = shlex.split(line)
    composed = compose(recipe, tuple(overrides))
    run, told = composed.pretrain.run, environ(rendered("overlays/gpu"), container, passwords())
    store: Any = TypeAdapter(StoreConf).validate_json(told["FROMZERO_STORE"])
    assert composed.store == store, "the pods that take part look where the first one puts its artifacts"
    assert run.nodes == spec["completions"]
    assert run.rendezvous == f"{job['metadata']['name']}-0.{service['metadata']['name']}:29400"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == run.processes
    assert f"exec fromzero train-node {run.rendezvous}\n" in container["args"][-1] and "train-node" in main.commands
    assert subprocess.run(["bash", "-n"], input=container["args"][-1], text=True).returncode == 0
