"""`make bench-gpu`, in its dry run on the CPU: every item gives a row, and one that fails gives a row as well."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.benchmarks.pretrain_gpu import DRY, compared, item, table
from tests.preloaded import Preloaded


def test_a_dry_run_goes_through_every_item_and_prints_one_table(loaded: Preloaded, tmp_path: Path) -> None:
    folder, out, errors = tmp_path / "bench", tmp_path / "out", tmp_path / "errors"
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = loaded.start(["-m", "tests.benchmarks.pretrain_gpu", str(folder), "--dry"], environ, out, errors)
    assert ran.wait() == 0, errors.read_text()[-2000:]
    rows = [row for row in json.loads((folder / "pretrain_gpu.json").read_text()) if "who" in row]
    assert len(rows) == len(DRY) and not [row for row in rows if "failed" in row.get("said", "")]
    assert {row["who"] for row in rows if "1b, sequences" in row["what"]} == {"fromzero", "Trainer"}
    assert "| SIGKILL and resume, deterministic | fromzero |  |  |  | weights and moments equal |" in out.read_text()
    assert (folder / "pretrain-gpu-curve.png").exists()


def test_an_item_that_fails_or_has_no_time_is_a_row_that_says_so(tmp_path: Path) -> None:
    assert item("curve", tmp_path, True, 0.0)[0]["said"] == "not begun: no time was left"
    assert item("speed 7b", tmp_path, True, 0.0)[0]["what"] == "7b"
    ended = item("nothing 1b", tmp_path, True, 60.0)
    assert [row["said"] for row in ended] == ["failed: KeyError: 'nothing'"]
    late = item("speed 1b", tmp_path, True, 1.0)
    assert [row["said"] for row in late] == ["failed: ended after 1 s"]
    assert "| 1b | fromzero |  |  |  | failed: ended after 1 s |" in table(late)


def test_speeds_of_one_network_are_compared_in_a_pair() -> None:
    rows = [
        {"what": "1b", "who": "fromzero", "tokens_per_second": 300.0, "mfu": 0.5},
        {"what": "1b", "who": "Trainer", "tokens_per_second": 200.0, "mfu": 0.4},
        {"what": "350m", "who": "fromzero", "tokens_per_second": 900.0},
        {"what": "350m", "who": "Trainer", "said": "failed"},
    ]
    pair, *rest = compared(rows, "a device")
    assert (pair["ours"], pair["peer"], pair["ratio"], pair["mfu"]) == (300, 200, 1.5, [0.5, 0.4])
    assert len(rest) == len(rows)
