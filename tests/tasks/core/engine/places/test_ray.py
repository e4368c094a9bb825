"""Mapped steps on a Ray cluster of two nodes, of which one is lost: only its shards run again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.core.store.open import open_store
from tests.toy_process import Toy

SHARDS = ("a=hello", "b=world", "c=again")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that carries nothing out, and two nodes with room for one body each."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield found
    finally:
        found.shutdown()


def test_a_lost_node_s_shards_run_again_on_another_and_no_others(
    cluster: Any, tmp_path: Path, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROMZERO_STORE", json.dumps({"kind": "local", "path": str(tmp_path / "shared")}))
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    places = {"TOY_PLACES": json.dumps({"make": f"ray:{cluster.address}"})}
    run = Toy(tmp_path / "home", prefect_url, *SHARDS, pause=6.0, TOY_UNTIL="shout", **places)
    busy: list[dict[str, Any]] = []

    def both_at_work() -> bool:
        folder = tmp_path / "shared/_work/make"
        busy[:] = [json.loads(file.read_text()) for file in folder.glob("*/remote/*/body.json")]
        return len([one for one in busy if one["ended"] is None]) >= 2

    run.until(both_at_work)
    cluster.remove_node(nodes[0], allow_graceful=False)
    found = run.wait()
    assert found["state"] == "reached"
    made = [outcome for outcome in found["outcomes"] if outcome["step"] == "make"]
    assert {outcome["state"] for outcome in made} == {"completed"}
    assert sorted(outcome["attempts"] for outcome in made) == [1, 1, 2]
    assert "its task on Ray was lost" in run.log.read_text() or "no sign of life" in run.log.read_text()
    assert len(list(open_store().manifests("make"))) == 3 and not list(open_store().backend.names("_work/"))
