"""Runs that live, and runs that vanished."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tasks.core import liveness

ANNOUNCE = """
import sys, time
from pathlib import Path
from tasks.core.liveness import Announced
kept = Announced(Path(sys.argv[1]), "one", name="demo-1")
print("announced", flush=True)
time.sleep(600)
"""


def test_a_run_lives_until_its_process_is_killed_and_is_then_found_dead_until_forgotten(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ANNOUNCE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "announced\n"
    (about,) = liveness.living(tmp_path)
    assert (about["run"], about["pid"], about["name"]) == ("one", process.pid, "demo-1")
    assert liveness.dead(tmp_path) == []
    process.kill()
    process.wait()
    assert liveness.living(tmp_path) == []
    assert [found["run"] for found in liveness.dead(tmp_path)] == ["one"]
    liveness.forget(tmp_path, "one")
    assert liveness.dead(tmp_path) == []


def test_a_run_that_withdrew_is_neither_living_nor_dead(tmp_path: Path) -> None:
    announced = liveness.Announced(tmp_path, "one")
    announced.withdraw()
    assert liveness.living(tmp_path) == liveness.dead(tmp_path) == []


def test_a_run_of_another_machine_lives_while_it_gives_signs_of_life(tmp_path: Path) -> None:
    liveness.Announced(tmp_path, "one", host="elsewhere", boot="another").leave()
    assert [found["run"] for found in liveness.living(tmp_path)] == ["one"], "its lock may not be seen here"
    silent = time.time() - liveness.SILENT - 1
    os.utime(tmp_path / "running/one.json", (silent, silent))
    assert [found["run"] for found in liveness.dead(tmp_path)] == ["one"]


def test_a_run_of_this_machine_before_it_was_switched_off_is_dead_whatever_the_time(tmp_path: Path) -> None:
    liveness.Announced(tmp_path, "rebooted", boot="before").leave()
    liveness.Announced(tmp_path, "contained", host="a-container").leave()
    assert {found["run"] for found in liveness.dead(tmp_path)} == {"rebooted", "contained"}


def test_a_run_whose_disk_was_full_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()
    path = tmp_path / "running/one.json"
    path.write_bytes(b"")
    assert liveness.dead(tmp_path) == [], "it is just being written"
    os.utime(path, (1, 1))
    assert [found["run"] for found in liveness.dead(tmp_path)] == ["one"]


def test_what_a_run_owes_is_read_with_what_it_announced_and_a_note_that_was_cut_off_is_not(tmp_path: Path) -> None:
    announced = liveness.Announced(tmp_path, "one", name="demo-1")
    announced.owe(owed={"state": "x"})
    announced.leave()
    with (tmp_path / "running/one.json").open("a") as file:
        file.write('\n{"owed": {"sta')
    (found,) = liveness.dead(tmp_path)
    assert (found["name"], found["owed"]) == ("demo-1", {"state": "x"})
