"""What this process computes on, and the group of processes that it belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from conf.schema.train_run import TrainRun
from tasks.core.errors import HostError
from tasks.training.cluster import rendezvous, unpickling
from tasks.training.cluster.node_address import LOOPBACK_ADDRESS
from tasks.training.network import fp8
from tasks.training.planning import requirements


@dataclass(frozen=True)
class Place:
    """Where one training process stands."""

    device: torch.device
    rank: int
    world: int
    precision: torch.dtype
    fp8: bool
    """Whether matrix products within layers are in fp8."""
    deterministic: bool
    compile: bool
    parallel: str
    shards: int
    """Processes that share one copy of the weights, of those that read different sequences."""
    tensor: int
    """Processes that compute each layer together; they have successive ranks."""

    @property
    def data_rank(self) -> int:
        """Which share of the sequences this process reads."""
        return self.rank // self.tensor

    @property
    def data_world(self) -> int:
        """How many shares of the sequences there are."""
        return self.world // self.tensor


def set_up(run: TrainRun, tensor: int = 1) -> Place:
    """Choose the device, join the process group (torchrun's environment), fix threads and kernels; `tensor` processes
    compute each layer together.

    Raises `HostError` when cuda is asked for and there is none for this process, and for what it cannot do.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = run.device == "cuda" or (run.device == "auto" and torch.cuda.is_available())
    if cuda and torch.cuda.device_count() <= local:
        raise HostError(
            f"{run.option}: process {local} finds {torch.cuda.device_count()} CUDA devices: "
            f"set {run.option}.device=cpu or lower {run.option}.processes"
        )
    requirements.refuse_without(run, cuda=cuda)
    torch.set_num_threads(run.threads)
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
        if run.precision == "fp8":
            fp8.refuse_if_unable(device, run.option)
    deterministic = not cuda if run.deterministic is None else run.deterministic
    if deterministic:
        torch.use_deterministic_algorithms(True)
        # Nothing here reads memory that it has not written; filling it all the same is 4 % of a step on CPUs.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if not dist.is_initialized():
        store = rendezvous.joined()
        if store is None and "RANK" not in os.environ:
            store = HashStore()  # alone and not under torchrun (a notebook, a test) there is nobody to meet
            rendezvous.listen_only_at(LOOPBACK_ADDRESS)
        group: dict[str, Any] = {} if store is None else {"store": store, "rank": rank, "world_size": world}
        unpickling.restrict()
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=timedelta(minutes=10), **group)
    wants_bf16 = run.precision in ("bf16", "fp8") or (run.precision == "auto" and has_bf16(device))
    spread = run.shard_processes is not None or tensor > 1
    return Place(
        device=device,
        rank=rank,
        world=world,
        fp8=run.precision == "fp8",
        precision=torch.bfloat16 if wants_bf16 else torch.float32,
        deterministic=deterministic,
        compile=cuda if run.compile is None else run.compile,
        parallel=("fsdp" if cuda or spread else "ddp") if run.parallel == "auto" else run.parallel,
        shards=run.shard_processes or world // tensor,
        tensor=tensor,
    )


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bf16 itself; a CPU that has to emulate it would be many times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def describe(device: torch.device) -> str:
    """The device in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
