from __future__ import annotations

from pathlib import Path

import pytest

from tasks.finetune import checkpoints


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    for step in (2, 4, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights" * step)
        (folder / "trainer_state.json").write_text("{}")
        checkpoints.seal(folder)
    return tmp_path


def test_the_newest_whole_checkpoint_is_the_one_with_the_highest_step(sealed: Path) -> None:
    assert checkpoints.newest(sealed) == sealed / "checkpoint-10"


def test_a_checkpoint_without_a_marker_is_skipped_and_removed(sealed: Path) -> None:
    (sealed / "checkpoint-10" / checkpoints.MARKER).unlink()
    assert checkpoints.newest(sealed) == sealed / "checkpoint-4"
    assert not (sealed / "checkpoint-10").exists()


@pytest.mark.parametrize("damage", [b"", b"weights", b"weightZ" * 10])
def test_a_file_that_is_cut_or_changed_makes_its_checkpoint_not_whole(sealed: Path, damage: bytes) -> None:
    (sealed / "checkpoint-10" / "model.safetensors").write_bytes(damage)
    assert checkpoints.newest(sealed) == sealed / "checkpoint-4"


def test_a_missing_file_or_a_torn_marker_makes_its_checkpoint_not_whole(sealed: Path) -> None:
    (sealed / "checkpoint-10" / "trainer_state.json").unlink()
    (sealed / "checkpoint-4" / checkpoints.MARKER).write_text('{"model.saf')
    assert checkpoints.newest(sealed) == sealed / "checkpoint-2"


def test_no_checkpoint_at_all_means_start_anew(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) is None


def test_pruning_keeps_the_named_steps_only(sealed: Path) -> None:
    checkpoints.prune(sealed, {2, 10})
    assert sorted(map(checkpoints.step_of, sealed.iterdir())) == [2, 10]
