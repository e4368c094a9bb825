"""`python -m tests.screenshots [HOME [NAME]]`: what people see in the pages, as pictures in docs/images/.

`fromzero up` serves the pages of a home (the tiny recipe is run into a new one if none is given), headless Chromium
looks at them, and PNG files of moderate size are written; NAME chooses pictures by a part of their names.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.services import access, prefect_api
from tasks.core.services.supervised import free_port
from tasks.core.tracking.mlflow_db import EXPERIMENT
from tests.browser import opened

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "images"
LARGEST = 300_000
"""Bytes of one picture; a larger one is saved with fewer colours."""
TRAINING = "workflowType=machine_learning"
SETTLED = """try {
  localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
  localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
  localStorage.setItem("MLflowLocalStorage-1.1-ExperimentView-1-expandRows", "true");
} catch (error) { /* about:blank has no storage */ }"""
"""MLflow's assistant stays closed, and children are shown below their parents."""


@dataclass(frozen=True)
class Shot:
    """One picture: of a page, once a text is on it and it has been quiet for a while."""

    name: str
    url: str
    awaits: str
    width: int = 1280
    height: int = 900
    clicks: Sequence[str] = ()
    """Texts to be clicked, one after another."""
    settle: float = 3.0
    """Seconds: charts draw themselves after the page is there."""


def prefect_shots(base: str) -> Iterator[Shot]:
    """The newest flow run that made something: its graph; three of its recipe's pages; the form of the recipe."""
    runs = prefect_api.ask(f"{base}/api", "flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 50})
    artifacts = prefect_api.ask(f"{base}/api", "artifacts/latest/filter", {"limit": 200})
    made = {artifact["flow_run_id"] for artifact in artifacts if str(artifact["key"]).endswith("-funnel")}
    run = next(run for run in runs if run["id"] in made)
    recipe = run["name"].split("-202")[0]
    yield Shot("prefect-graph", f"{base}/runs/flow-run/{run['id']}", run["name"], 1600, 900, settle=6)
    pages = {artifact["key"]: artifact["latest_id"] for artifact in artifacts}
    for name in ("run", "funnel", "evaluate-lm", "gate-lm"):
        if found := pages.get(f"{recipe}-{name}"):
            yield Shot(f"prefect-{name}", f"{base}/artifacts/artifact/{found}", f"{recipe}-{name}", 1280, 1100)
    nightly = prefect_api.ask(f"{base}/api", "deployments/name/demo/nightly")
    yield Shot("prefect-form", f"{base}/deployments/deployment/{nightly['id']}/run", "Parameters", 1280, 1100)


def mlflow_shots(base: str) -> Iterator[Shot]:
    """The experiment, a pretraining's curves and system metrics, the primary model's version."""
    from mlflow import MlflowClient

    client = MlflowClient(base, base)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    runs = f"{base}/#/experiments/{experiment}/runs"
    yield Shot("mlflow-runs", f"{runs}?{TRAINING}", "matching runs", 1400, 800, settle=5)
    for run in client.search_runs([experiment], "tags.`fromzero.step` = 'pretrain'", max_results=1):
        page = f"{runs}/{run.info.run_id}"
        yield Shot("mlflow-curves", f"{page}/model-metrics?{TRAINING}", "grad_norm", 1400, 900, settle=6)
        yield Shot("mlflow-system", f"{page}/system-metrics?{TRAINING}", "cpu_utilization", 1400, 900, settle=6)
    for model in client.search_registered_models()[:1]:
        version = max(int(found.version) for found in client.search_model_versions(f"name='{model.name}'"))
        url = f"{base}/#/models/{model.name}/versions/{version}?{TRAINING}"
        yield Shot("mlflow-version", url, "Aliases", 1400, 1400, settle=4)


def report_shots(home: Path) -> Iterator[Shot]:
    """The newest report, on a desk and on a phone."""
    for report in sorted((home / "reports").glob("*.html"), key=lambda path: path.stat().st_mtime)[-1:]:
        yield Shot("report", report.resolve().as_uri(), "", 1280, 1800)
        yield Shot("report-phone", report.resolve().as_uri(), "", 390, 1400)


def take(page: Any, shot: Shot) -> bytes:
    """A picture as PNG, in at most `LARGEST` bytes."""
    from PIL import Image

    page.set_viewport_size({"width": shot.width, "height": shot.height})
    page.goto("about:blank")
    page.goto(shot.url)
    if shot.awaits:
        page.get_by_text(shot.awaits).first.wait_for()
    for text in shot.clicks:
        page.get_by_text(text).first.click()
    page.wait_for_timeout(1000 * shot.settle)
    picture, colours = bytes(page.screenshot()), 256
    while len(picture) > LARGEST and colours >= 16:
        out = io.BytesIO()
        Image.open(io.BytesIO(picture)).convert("RGB").quantize(colours).save(out, "PNG", optimize=True)
        picture, colours = out.getvalue(), colours // 2
    return picture


def command(home: Path, *words: str) -> None:
    """`fromzero WORDS…` on a home."""
    environ = {**os.environ, "FROMZERO_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "flows.cli.main", *words], cwd=ROOT, env=environ, check=True)


def main(*words: str) -> int:
    """Serve the home's pages, look at them, write the pictures."""
    home = Path(words[0]).resolve() if words else Path(tempfile.mkdtemp(prefix="fromzero-home-"))
    if not words:
        command(home, "run", "tests/tiny.yaml")
    ports = {"prefect": free_port(), "mlflow": free_port()}
    command(home, "up", *(f"{name}_port={port}" for name, port in ports.items()))
    bases = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    name, word = access.credentials(home)
    os.environ |= {"PREFECT_API_AUTH_STRING": f"{name}:{word}"}
    os.environ |= {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": word}
    TARGET.mkdir(parents=True, exist_ok=True)
    try:
        shots = [*prefect_shots(bases["prefect"]), *mlflow_shots(bases["mlflow"]), *report_shots(home)]
        with opened() as page:
            page.add_init_script(SETTLED)
            page.goto(access.link(home, bases["prefect"]))  # for both servers
            for shot in shots:
                if not words[1:] or words[1] in shot.name:
                    (TARGET / f"{shot.name}.png").write_bytes(take(page, shot))
                    print(f"{shot.name}.png", flush=True)
    finally:
        command(home, "down")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
