from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, BytesStorageMetadata, Metadata

from conf.schema.pretrain import PretrainRun
from tasks.core.errors import ArtifactError
from tasks.training.network.device import set_up
from tasks.training.trainer.checkpoint import COMPLETE, Checkpoints, RestrictedReader, RestrictedUnpickler, is_whole


def record(loss: float | None = None) -> dict[str, object]:
    return {"losses": {"valid_loss": loss}, "world": 1}


def state(value: float) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((4, 3), value), "rng.0": torch.arange(8, dtype=torch.uint8)}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[Checkpoints]:
    set_up(PretrainRun(device="cpu", threads=1))
    made = Checkpoints(tmp_path / "checkpoints", lambda step: None, print)
    yield made
    made.close()
    dist.destroy_process_group()


def save(checkpoints: Checkpoints, *steps: int, losses: dict[int, float] | None = None) -> None:
    for step in steps:
        checkpoints.save(step, state(float(step)), record((losses or {}).get(step)))
    checkpoints.wait()


def test_what_was_saved_is_loaded_in_place(checkpoints: Checkpoints) -> None:
    live = state(7.0)
    checkpoints.save(7, live, record(0.5))
    live["weights"].zero_()  # training goes on while the copy is written
    checkpoints.wait()
    found = checkpoints.latest()
    assert found is not None
    target = state(0.0)
    assert checkpoints.load(found, target) == record(0.5)
    assert torch.equal(target["weights"], torch.full((4, 3), 7.0))


def test_the_newest_two_and_the_best_are_kept(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, 2, 3, 4, 5, losses={2: 0.5, 3: 0.9})
    assert sorted(path.name for path in checkpoints.root.iterdir()) == [f"step-{n:08d}" for n in (2, 4, 5)]
    best = checkpoints.best()
    assert best is not None and best.name == "step-00000002"


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "unmarked", "torn marker"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(checkpoints: Checkpoints, damage: str) -> None:
    save(checkpoints, 10, 20)
    newest = checkpoints.folder(20)
    data = next(newest.glob("*.distcp"))
    match damage:
        case "truncated":
            os.truncate(data, data.stat().st_size - 1)
        case "changed":
            raw = bytearray(data.read_bytes())
            raw[len(raw) // 2] ^= 1
            data.write_bytes(bytes(raw))
        case "missing":
            data.unlink()
        case "unmarked":
            (newest / COMPLETE).unlink()
        case "torn marker":
            (newest / COMPLETE).write_text((newest / COMPLETE).read_text()[:-5])
    assert checkpoints.latest() == checkpoints.folder(10)
    assert not newest.exists()
    save(checkpoints, 20)
    assert is_whole(newest)


def test_progress_is_told_only_of_whole_checkpoints(checkpoints: Checkpoints) -> None:
    told: list[bool] = []
    checkpoints.progress = lambda step: told.append(is_whole(checkpoints.folder(step)))
    save(checkpoints, 1, 2)
    assert told == [True, True]


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


def test_metadata_that_would_run_a_command_is_refused_and_does_not_run_it(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    save(checkpoints, 3)
    (checkpoints.folder(3) / ".metadata").write_bytes(pickle.dumps(Exploit(tmp_path / "ran")))
    with pytest.raises(ArtifactError, match="system"):
        RestrictedReader(checkpoints.folder(3)).read_metadata()
    assert not (tmp_path / "ran").exists()


def test_metadata_with_byte_entries_which_torch_would_unpickle_is_refused(checkpoints: Checkpoints) -> None:
    save(checkpoints, 3)
    path = checkpoints.folder(3) / ".metadata"
    path.write_bytes(pickle.dumps(Metadata(state_dict_metadata={"weights": BytesStorageMetadata()})))
    with pytest.raises(ArtifactError, match="BytesStorageMetadata"):
        RestrictedReader(checkpoints.folder(3)).read_metadata()


class Got:
    """Pickled as getattr(of, name), as Python 3.11.0 to 3.11.3 pickle a member of an enumeration."""

    def __init__(self, of: object, name: str) -> None:
        self.of, self.name = of, name

    def __reduce__(self) -> tuple[object, tuple[object, str]]:
        return getattr, (self.of, self.name)


def test_the_metadata_of_every_python_is_read_and_its_getattr_gives_nothing_else() -> None:
    wanted = _MEM_FORMAT_ENCODING.TORCH_CONTIGUOUS_FORMAT
    for written in (wanted, Got(_MEM_FORMAT_ENCODING, wanted.name)):
        assert RestrictedUnpickler(io.BytesIO(pickle.dumps(written))).load() is wanted
    for of, name in ((Metadata, "__init__"), (_MEM_FORMAT_ENCODING, "__class__"), (torch.Size, "count")):
        with pytest.raises((ArtifactError, KeyError)):
            RestrictedUnpickler(io.BytesIO(pickle.dumps(Got(of, name)))).load()
