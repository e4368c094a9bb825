"""A file's hash is remembered for as long as the file is the same one, and no longer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasks.core import hashes
from tasks.core.artifact import hash_file
from tasks.core.hashes import FILE, TICK, WORTH, Hashes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    path = tmp_path / "weights"
    path.write_bytes(b"a" * WORTH)
    time.sleep(2 * TICK / 1e9)  # or it is too young to be remembered
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    found: list[Path] = []
    monkeypatch.setattr(hashes, "hash_file", lambda path: found.append(path) or hash_file(path))  # type: ignore[func-returns-value]
    return found


def rewrite(path: Path, data: bytes) -> None:
    """The same file with other bytes, its time set back."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_is_read_once_by_all_processes_of_a_home(file: Path, reads: list[Path], tmp_path: Path) -> None:
    found = [Hashes(tmp_path / "home").of(file) for _ in range(3)]
    assert found == [hash_file(file)] * 3 and reads == [file]
    assert (tmp_path / "home" / FILE).stat().st_mode & 0o777 == 0o600


def test_other_bytes_of_the_same_size_and_time_are_noticed(file: Path, tmp_path: Path) -> None:
    for one in (Hashes(tmp_path / "home"), Hashes(None)):
        before = one.of(file)
        rewrite(file, os.urandom(WORTH))
        assert one.of(file) == hash_file(file) != before


def test_a_file_that_is_changed_within_a_tick_of_the_clock_is_read_again(tmp_path: Path) -> None:
    one, path = Hashes(tmp_path), tmp_path / "weights"
    for _ in range(20):
        path.write_bytes(os.urandom(WORTH))
        assert one.of(path) == hash_file(path)


def test_reading_anew_replaces_what_was_remembered(file: Path, reads: list[Path], tmp_path: Path) -> None:
    one = Hashes(tmp_path / "home")
    one.of(file)
    assert one.anew(file) == hash_file(file) and reads == [file, file]


@pytest.mark.parametrize("spoilt", ["damaged", "a folder", "no home"])
def test_without_a_memory_files_are_read_again(file: Path, reads: list[Path], tmp_path: Path, spoilt: str) -> None:
    home = tmp_path / "home"
    if spoilt == "damaged":
        (home / FILE).write_bytes(b"no database" * 1000)
    elif spoilt == "a folder":
        (home / FILE).mkdir()
    else:
        home.rmdir()
    assert [Hashes(home).of(file) for _ in range(2)] == [hash_file(file)] * 2
    assert home.is_dir() == (spoilt != "no home")


def test_who_only_looks_recalls_and_adds_nothing(file: Path, reads: list[Path], tmp_path: Path) -> None:
    home = tmp_path / "home"
    with hashes.left_alone():
        assert Hashes(home).of(file) == hash_file(file)
    assert list(home.iterdir()) == [] and reads == [file]
    Hashes(home).of(file)
    before = (home / FILE).stat().st_mtime_ns
    with hashes.left_alone():
        Hashes(home).of(file)
    assert reads == [file, file] and (home / FILE).stat().st_mtime_ns == before
