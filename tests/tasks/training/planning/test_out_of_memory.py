from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conf.schema.pretrain import PretrainRun
from tasks.training.planning import out_of_memory as memory
from tasks.training.planning.out_of_memory import kernel_kills, lacks_device_memory, lacks_host_memory, out_of_memory


def test_what_torch_says_of_a_tensor_that_does_not_fit_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert lacks_host_memory(caught.value) and not lacks_device_memory(caught.value)
    assert lacks_device_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert lacks_device_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"))
    assert not lacks_host_memory(RuntimeError("Connection reset by peer"))


@pytest.mark.parametrize(
    ("run", "cuda", "wanted"),
    [
        ({}, True, ["micro_batch=8", "activation_checkpointing=full", "parallel=fsdp"]),
        ({"processes": 4, "activation_checkpointing": "full"}, True, ["micro_batch=8", "seq_len", "model.config"]),
        ({"micro_batch": 1}, False, ["activation_checkpointing=full", "malloc=false", "seq_len"]),
    ],
)
def test_the_three_options_are_those_that_still_can_help(run: dict[str, object], cuda: bool, wanted: list[str]) -> None:
    message = out_of_memory("memory", PretrainRun.model_validate(run), cuda=cuda)
    parts = message.split(": ", 1)[1].split("; ")
    places = [message.index(word) for word in wanted]
    assert places == sorted(places) and parts[-1].count(wanted[-1]) == 1
    assert "micro_batch=0" not in message


def test_the_kernels_kills_are_counted_where_it_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "memory.events")
    assert kernel_kills() == 0
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert kernel_kills() == 2
