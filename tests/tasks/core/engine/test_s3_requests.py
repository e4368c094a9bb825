"""What a cached run, and a plan, ask of a store on S3: counted on a real server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from conf.schema.store import S3StoreConf
from tasks.core.artifact import Manifest
from tasks.core.plan.planner import Planner
from tasks.core.step import interpreted_by
from tasks.core.store.open import open_store
from tasks.core.workdir import Workdir
from tests import toy
from tests.s3_server import S3Server
from tests.tasks.core.cutting_proxy import CuttingProxy
from tests.toy_process import Toy

TEXTS = {"a": "hello", "b": "world"}


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[CuttingProxy]:
    with CuttingProxy(s3_server.ports[0]) as found:
        yield found


@pytest.fixture
def conf(s3_server: S3Server, proxy: CuttingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3StoreConf:
    """A store on S3 whose requests the proxy knows."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    return S3StoreConf(kind="s3", bucket="tests", prefix=tmp_path.name, endpoint=proxy.endpoint)


def run(home: Path, url: str, conf: S3StoreConf, texts: dict[str, str] = TEXTS) -> dict[str, str]:
    found = Toy(home, url, *(f"{k}={v}" for k, v in texts.items()), FROMZERO_STORE=conf.model_dump_json()).wait()
    assert found["state"] == "completed", found
    states: dict[str, str] = found["states"]
    return states


def plan(conf: S3StoreConf, texts: dict[str, str] = TEXTS) -> Counter[str]:
    planner = Planner(open_store(conf))
    with interpreted_by(planner):
        toy.wiring(texts, toy.ToyConf())
    return Counter(row.action for row in planner.rows)


def kinds(asked: list[str]) -> Counter[str]:
    """Listings, leases, manifests, refs and others."""
    found = Counter[str]()
    for line in map(unquote, asked):
        listed, lease = "list-type=2" in line, "/_locks/" in line
        read = "manifest" if line.startswith("GET") and line.endswith("/manifest.json") else "other"
        found["listing" if listed else "lease" if lease else "ref" if "/_refs/" in line else read] += 1
    return found


def test_a_cached_run_asks_at_most_twice_a_step_and_takes_no_lease(
    home: Path, prefect_url: str, conf: S3StoreConf, proxy: CuttingProxy, tmp_path: Path
) -> None:
    run(home, prefect_url, conf)
    proxy.asked.clear()
    cached = run(home, prefect_url, conf)
    assert set(cached.values()) == {"cached"} and len(cached) == 6
    assert kinds(proxy.asked) == {"listing": 6, "ref": 1}, proxy.asked
    proxy.asked.clear()
    (tmp_path / "elsewhere").mkdir()
    elsewhere = run(tmp_path / "elsewhere", prefect_url, conf)
    assert set(elsewhere.values()) == {"cached"}
    assert kinds(proxy.asked) == {"listing": 6, "manifest": 6, "ref": 1}, "another machine reads each once"
    store = open_store(conf)
    joined = next(store.manifests("join"))
    store.backend.bucket.delete([f"join/{joined.key}/{joined.attempt}/content/all.txt"])  # type: ignore[attr-defined]
    again = run(home, prefect_url, conf)
    assert {label for label, state in again.items() if state == "completed"} == {"join"}, "a hit is checked"


def test_a_plan_lists_each_step_once_and_reads_what_has_changed(
    home: Path,
    prefect_url: str,
    conf: S3StoreConf,
    proxy: CuttingProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(home, prefect_url, conf)
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("FROMZERO_HOME", str(here))
    for manifests in (6, 0):
        proxy.asked.clear()
        assert plan(conf) == {"hit": 6}
        assert kinds(proxy.asked) == {"listing": 4, "ref": 1, **({"manifest": manifests} if manifests else {})}
    changed = TEXTS | {"b": "moon"}
    made = run(elsewhere, prefect_url, conf, changed)
    assert Counter(made.values()) == {"cached": 2, "completed": 4}
    proxy.asked.clear()
    assert plan(conf, changed) == {"hit": 6}
    assert kinds(proxy.asked) == {"listing": 4, "ref": 1, "manifest": 4}, "one read per changed artifact"
    proxy.asked.clear()
    assert plan(conf, TEXTS | {"b": "sun"}) == {"hit": 2, "run": 1, "wait": 3}
    assert kinds(proxy.asked) == {"listing": 4, "ref": 1}, "reasons and estimates need no more"


def test_what_is_kept_of_a_manifest_here_counts_only_whole_and_while_the_bucket_has_the_same(
    conf: S3StoreConf, home: Path, proxy: CuttingProxy
) -> None:
    store = open_store(conf)
    backend = store.backend
    first = Manifest("make", "0" * 64, {"code": "0"}, "", "", (), {"rows": 1}, (), {})
    name = f"make/{'0' * 64}/manifest.json"
    work = Workdir(home / "draft")
    work.make()
    made = store.publish(work, first)
    (kept,) = (home / "cache").glob("make/*/manifest.json.*")
    proxy.asked.clear()
    assert store.look("make", made.key) == made and kinds(proxy.asked) == {"listing": 1}
    kept.write_bytes(kept.read_bytes()[:-1] + b" ")
    assert store.look("make", made.key) == made
    assert kinds(proxy.asked) == {"listing": 2, "manifest": 1}, "what is torn is read again"
    other = made.to_json().replace(b'"rows": 1', b'"rows": 2')
    backend.write(name, other, backend.read(name)[1])
    found = store.look("make", made.key)
    assert not isinstance(found, Manifest) and "changed after it was written" in found.reason
