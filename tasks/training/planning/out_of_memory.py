"""Out of memory: how it is recognised, and what helps most against it."""

from __future__ import annotations

import errno
from pathlib import Path

from conf.schema.train_run import TrainRun

CGROUP = Path("/sys/fs/cgroup/memory.events")
DEVICE_WORDS = ("cuda out of memory", "cuda error: out of memory", "alloc_failed", "cuda out of resources")
HOST_WORDS = ("can't allocate memory", "not enough memory", "cannot allocate memory", "std::bad_alloc")


def kernel_kills() -> int:
    """How many processes the kernel has killed for memory in this container; 0 where it does not say."""
    try:
        words = dict(line.split() for line in CGROUP.read_text().splitlines())
        return int(words.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


def lacks_device_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is used up."""
    return type(error).__name__ == "OutOfMemoryError" or any(word in str(error).lower() for word in DEVICE_WORDS)


def lacks_host_memory(error: BaseException) -> bool:
    """Whether an error says that the machine's memory is used up."""
    full = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return full or isinstance(error, MemoryError) or any(word in str(error).lower() for word in HOST_WORDS)


def out_of_memory(what: str, run: TrainRun, *, cuda: bool) -> str:
    """What to say when `what` was not enough: the three options that help most, as they stand now."""
    options = []
    if run.micro_batch > 1:
        options.append(
            f"{run.option}.micro_batch={max(1, run.micro_batch // 2)} (it is {run.micro_batch}; the batch stays the "
            "same by accumulation)"
        )
    if run.activation_checkpointing == "budget":
        options.append(f"{run.option}.checkpointing_budget below {run.checkpointing_budget:g} (0: least activations)")
    elif run.activation_checkpointing != "full":
        options.append(
            f"{run.option}.activation_checkpointing=full (it is {run.activation_checkpointing}; a third more work, "
            "least activations)"
        )
    if cuda and not (run.processes > 1 and run.parallel != "ddp"):
        options.append(f"{run.option}.parallel=fsdp with more {run.option}.processes, which share the weights")
    if not cuda and run.malloc:
        options.append(f"{run.option}.malloc=false (freed memory is given back)")
    options += run.smaller
    first, second, third = options[:3]
    return f"training ran out of {what}. What helps most, in this order: {first}; {second}; {third}"
