"""Runs that live, and runs that went without a word."""

import subprocess
import sys
from pathlib import Path

from tasks.core import alive

ANNOUNCE = """
import sys, time
from pathlib import Path
from tasks.core.alive import Announced
kept = Announced(Path(sys.argv[1]), "one", name="demo-1")
print("announced", flush=True)
time.sleep(600)
"""


def test_a_run_lives_until_its_process_is_killed_and_is_then_found_dead_until_forgotten(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ANNOUNCE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "announced\n"
    (about,) = alive.living(tmp_path)
    assert (about["run"], about["pid"], about["name"]) == ("one", process.pid, "demo-1")
    assert alive.dead(tmp_path) == []
    process.kill()
    process.wait()
    assert alive.living(tmp_path) == []
    assert [found["run"] for found in alive.dead(tmp_path)] == ["one"]
    alive.forget(tmp_path, "one")
    assert alive.dead(tmp_path) == []


def test_a_run_that_withdrew_is_neither_living_nor_dead(tmp_path: Path) -> None:
    announced = alive.Announced(tmp_path, "one")
    announced.withdraw()
    assert alive.living(tmp_path) == alive.dead(tmp_path) == []
