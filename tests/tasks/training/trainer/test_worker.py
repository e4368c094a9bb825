from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from conf.schema.pretrain import PretrainRun
from tasks.core.errors import DataError, FromzeroError, HostError, StepError, Transient
from tasks.training.job import write_status
from tasks.training.trainer.worker import sort_error


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class DistBackendError(RuntimeError):
    """Named like torch's."""


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OutOfMemoryError("CUDA out of memory"), HostError, "fsdp"),
        (MemoryError(), HostError, "run.micro_batch=8"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), HostError, "run.malloc=false"),
        (DistBackendError("NCCL error: unhandled system error"), Transient, "lost each other"),
        (RuntimeError("[gloo/pair.cc] Connection closed by peer [127.0.0.1]"), Transient, "lost each other"),
        (DataError("tokens.bin is short"), DataError, "tokens.bin is short"),
        (ZeroDivisionError("division by zero"), StepError, "ZeroDivisionError"),
    ],
)
def test_errors_of_training_are_sorted_into_the_tree(
    error: BaseException, kind: type[FromzeroError], words: str
) -> None:
    found = sort_error(error, PretrainRun())
    assert type(found) is kind
    assert words in str(found)


def test_a_full_disk_while_a_checkpoint_is_written_is_the_hosts_fault() -> None:
    from torch.distributed.checkpoint.api import CheckpointException

    full = OSError(errno.ENOSPC, "No space left on device", "step-00000007/__0_0.distcp")
    found = sort_error(CheckpointException("write", {0: (full, None)}), PretrainRun())
    assert isinstance(found, HostError) and "disk is full" in str(found)


def test_the_first_status_stays(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_status(path, ok=False, kind="DataError", message="the cause")
    write_status(path, ok=False, kind="Transient", message="a consequence")
    assert json.loads(path.read_text())["message"] == "the cause"
    assert list(tmp_path.iterdir()) == [path]
