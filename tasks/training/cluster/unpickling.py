"""What may be unpickled of what other training processes send: values, and the few classes that torch exchanges.

torch pickles the state of its rendezvous and whatever processes tell each other as objects, and runs whatever code a
pickle from the network names; these readers know the names that are needed and no others.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch.distributed.distributed_c10d as c10d

from tasks.core.errors import KINDS, StepError

_DCP = "torch.distributed.checkpoint"
_RENDEZVOUS = "torch.distributed.elastic.rendezvous.dynamic_rendezvous"
_DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
_METADATA = (
    "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
    "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
)  # fmt: skip
_PLANS = (
    "BytesIOWriteData", "LoadItemType", "LoadPlan", "ReadItem", "SavePlan", "TensorWriteData", "WriteItem",
    "WriteItemType",
)  # fmt: skip
STATE = frozenset(
    {
        *((_RENDEZVOUS, name) for name in ("_NodeDesc", "_RendezvousState")),
        *(("datetime", name) for name in ("datetime", "timedelta", "timezone")),
        ("builtins", "set"),
    }
)
"""What the state of a rendezvous is made of."""
OBJECTS = frozenset(
    {
        *((f"{_DCP}.metadata", name) for name in _METADATA),
        *((f"{_DCP}.planner", name) for name in _PLANS),
        (f"{_DCP}.storage", "WriteResult"),
        (f"{_DCP}.filesystem", "_StorageInfo"),
        (f"{_DCP}.filesystem", "_StoragePrefix"),
        (f"{_DCP}.api", "CheckpointException"),
        *(("traceback", name) for name in ("FrameSummary", "StackSummary")),
        *(("torch", name) for name in ("Size", "device", *_DTYPES)),
        *(("torch.serialization", name) for name in ("_get_layout",)),
        *(("collections", name) for name in ("OrderedDict", "ChainMap")),
        *(("builtins", name) for name in ("set", "frozenset", "slice", "complex")),
        *(("pathlib", name) for name in ("Path", "PosixPath")),
        *((kind.__module__, name) for name, kind in KINDS.items()),
    }
)
"""What processes of a training send each other as objects: plans and results of checkpoints, and errors."""


class Reader(pickle.Unpickler):
    """Unpickles values and `allowed` classes, and Python's own exceptions; everything else is refused."""

    allowed = OBJECTS

    def find_class(self, module: str, name: str) -> Any:
        """The named class; raises `StepError` unless it is allowed."""
        if (module, name) in self.allowed:
            return super().find_class(module, name)
        if module == "builtins" and self.allowed is OBJECTS:
            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, Exception):
                return found
        raise StepError(
            f"another process of this training sent {module}.{name}, which none of ours sends: it is not read. See who "
            "reaches the port at which the processes meet"
        )


class StateReader(Reader):
    """Of a rendezvous."""

    allowed = STATE


def check_state(data: bytes) -> None:
    """Raise `StepError` if the state of a rendezvous holds anything but what it is made of."""
    StateReader(io.BytesIO(data)).load()


def restrict() -> None:
    """Have torch read what the processes of this group send through `Reader`, from here on."""
    setattr(c10d, "_unpickler", Reader)  # noqa: B010 - torch has no other door for one's own reader
