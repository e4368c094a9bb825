"""How a network is spread over processes: as copies, as shards, as copies of shards, and with its layers cut across."""

from __future__ import annotations

from typing import Any

from torch import nn

from tasks.training.network.device import Place
from tasks.training.network.model import LossModule, blocks


def parallelize(loss_module: LossModule, place: Place) -> nn.Module:
    """The loss_module on its device, as shards (fsdp) or copies (ddp) over the processes that read different sequences.

    Fewer shards than such processes are hybrid sharding: shards within a group, copies across (Zhao et al., "PyTorch
    FSDP", 2023). The layers are cut for `place.tensor` processes before.
    """
    loss_module.to(place.device)
    if place.parallel == "fsdp" and place.world > 1:
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        mesh = _mesh(place)
        if place.tensor > 1:
            from tasks.training.network import tensor_parallel

            tensor_parallel.cut(loss_module.model, mesh["tensor"])
        if place.data_world > 1:
            data = mesh["copies", "shards"] if place.data_world > place.shards else mesh["shards"]
            for block in blocks(loss_module.model):
                fully_shard(block, mesh=data)
            fully_shard(loss_module, mesh=data)
            register_fsdp_forward_method(loss_module, "following")
        return loss_module
    if place.world == 1:
        return loss_module
    from torch.nn.parallel import DistributedDataParallel

    # Looking for unused parameters keeps the first step's buckets: rebuilt ones would add up in another order after
    # a resume, and with three processes or more the last bits would differ.
    return DistributedDataParallel(
        loss_module,
        device_ids=[place.device.index] if place.device.type == "cuda" else None,
        find_unused_parameters=place.deterministic and place.world > 2,
    )


def _mesh(place: Place) -> Any:
    """The processes by what they share, those that compute layers together next to each other."""
    from torch.distributed.device_mesh import init_device_mesh

    sizes = {"copies": place.data_world // place.shards, "shards": place.shards, "tensor": place.tensor}
    names = tuple(name for name, size in sizes.items() if size > 1 or name == "shards")
    return init_device_mesh(place.device.type, tuple(sizes[name] for name in names), mesh_dim_names=names)


def inner(module: nn.Module) -> LossModule:
    """The loss_module itself, whatever it is wrapped in."""
    from torch.nn.parallel import DistributedDataParallel

    found = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(found, LossModule)
    return found
