from __future__ import annotations

import json
from pathlib import Path

from tasks.core.workdir import Workdir
from tasks.training.trainer.training_log import Journal, last_step


def test_a_step_in_the_file_is_not_written_again_and_a_torn_line_does_not_count(tmp_path: Path) -> None:
    work = Workdir(tmp_path)
    work.make()
    journal = Journal(work, writes=True)
    for step in (1, 2, 3):
        journal.row(step, {"loss": float(step)})
    with work.metrics_file.open("ab") as file:
        file.write(b'{"step": 4, "lo')
    assert last_step(work.metrics_file) == 3
    again = Journal(work, writes=True)
    for step in (2, 3, 4):
        again.row(step, {"loss": 10.0 * step})
    rows = [json.loads(line) for line in work.metrics_file.read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]


def test_other_processes_write_and_say_nothing(tmp_path: Path, capsys: object) -> None:
    work = Workdir(tmp_path)
    work.make()
    Journal(work, writes=False).row(1, {"loss": 1.0})
    assert not work.metrics_file.exists()
