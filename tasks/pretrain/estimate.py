"""What training will take, computed from the config alone: no torch, so that a plan is instant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from conf.schema.model import ModelConf, NativeConf, NetworkConf
from conf.schema.pretrain import PretrainConf
from tasks.core.errors import HostError
from tasks.pretrain import encoders

DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    "qwen3": {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
    },
    "gpt2": {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024},
    **encoders.DEFAULTS,
}
"""transformers' own defaults, for the fields that the count needs."""


def as_transformers(conf: NetworkConf) -> ModelConf:
    """The network as transformers has it, which is how its sizes are counted here."""
    return conf.in_transformers() if isinstance(conf, NativeConf) else conf


def _options(conf: ModelConf) -> dict[str, Any]:
    return {**DEFAULTS[conf.architecture], **conf.config}


def count_parameters(conf: NetworkConf, vocab_size: int) -> int | None:
    """Parameters of the network, tied ones once; None for an architecture whose count is not known here."""
    conf = as_transformers(conf)
    if conf.architecture not in DEFAULTS:
        return None
    if conf.architecture in encoders.DEFAULTS:
        return encoders.measure(conf, vocab_size, 0).parameters
    o = _options(conf)
    head = 0 if conf.tie_embeddings else 1
    if conf.architecture == "gpt2":
        width, layers = o["n_embd"], o["n_layer"]
        inner = o.get("n_inner") or 4 * width
        layer = 4 * width + (4 * width * width + 4 * width) + (2 * width * inner + width + inner)
        return int((1 + head) * vocab_size * width + o["n_positions"] * width + layers * layer + 2 * width)
    width, heads = o["hidden_size"], o["num_attention_heads"]
    size = o.get("head_dim") or width // heads
    pairs = o.get("num_key_value_heads") or heads
    attention = width * size * (2 * heads + 2 * pairs)
    norms = 2 * width + (2 * size if conf.architecture == "qwen3" else 0)
    if o.get("attention_bias"):
        attention += size * (heads + 2 * pairs) + width
    mlp = 3 * width * o["intermediate_size"] + (2 * o["intermediate_size"] + width if o.get("mlp_bias") else 0)
    return int((1 + head) * vocab_size * width + o["num_hidden_layers"] * (attention + mlp + norms) + width)


def flops_per_token(conf: NetworkConf, vocab_size: int, seq_len: int) -> int | None:
    """Forward and backward FLOPs of one token: 6 per weight that is multiplied, and 12 layers·width·seq_len of
    attention (torchtitan's formula; Chowdhery et al., PaLM, 2022, appendix B)."""
    conf = as_transformers(conf)
    parameters = count_parameters(conf, vocab_size)
    if parameters is None:
        return None
    if conf.architecture in encoders.DEFAULTS:
        return int(encoders.measure(conf, vocab_size, seq_len).flops)
    o = _options(conf)
    gpt = conf.architecture == "gpt2"
    layers, width = (o["n_layer"], o["n_embd"]) if gpt else (o["num_hidden_layers"], o["hidden_size"])
    heads = o["n_head"] if gpt else o["num_attention_heads"]
    size = width // heads if gpt else o.get("head_dim") or width // heads
    looked_up = o["n_positions"] * width if gpt else 0
    looked_up += 0 if conf.tie_embeddings else vocab_size * width
    return int(6 * (parameters - looked_up) + 12 * layers * heads * size * seq_len)


def _shape(conf: ModelConf) -> tuple[int, int]:
    """The number of layers, and their width."""
    if conf.architecture in encoders.DEFAULTS:
        return encoders.measure(conf, 0, 0)[2:]
    o = _options(conf)
    return (o["n_layer"], o["n_embd"]) if conf.architecture == "gpt2" else (o["num_hidden_layers"], o["hidden_size"])


def _activation_bytes(conf: PretrainConf, vocab_size: int) -> int:
    """fp32 activations kept for one backward pass of one process: about 34 numbers a token, layer and unit of width
    (Korthikanti et al., 2022), less where they are computed again, and three copies of the logits."""
    layers, width = _shape(as_transformers(conf.model))
    processes = conf.run.processes // conf.run.tensor_parallel
    rows = min(conf.run.micro_batch, -(-conf.segment.sequences // processes))
    most, budget = 34 * layers, conf.run.recompute_budget
    ways = {"none": most, "selective": 12 * layers + 34, "full": layers + 34, "budget": budget * most + layers + 34}
    kept = ways[conf.run.recompute]
    return int(rows * conf.segment.seq_len * 4 * (kept * width + 3 * vocab_size))


def estimate(conf: PretrainConf, vocab_size: int) -> dict[str, float | int | None]:
    """What one segment takes: parameters, tokens, flops, memory_gb (all processes), checkpoint_mb (one of them).

    Numbers that depend on an architecture not known here are None.
    """
    parameters = count_parameters(conf.model, vocab_size)
    flops = flops_per_token(conf.model, vocab_size, conf.segment.seq_len)
    tokens = conf.segment.tokens_after(conf.segment.steps)
    known = parameters is not None and flops is not None
    optimizer = conf.optimizer
    moments = {"sgd": int(optimizer.momentum > 0)}.get(optimizer.kind, 2)
    kept = 1 + moments + int(conf.segment.ema is not None)
    run = conf.run
    sharing = run.tensor_parallel * (run.shard_processes or run.processes // run.tensor_parallel)
    sharded = run.parallel == "fsdp" or run.shard_processes is not None or run.tensor_parallel > 1
    copies = run.processes // sharing if sharded else run.processes
    return {
        "parameters": parameters,
        "tokens": tokens,
        "flops": flops * tokens if flops is not None else None,
        # Weights, gradients and moments in fp32, the copy that a checkpoint is written from, and torch itself.
        "memory_gb": round(
            ((8 * kept + 4) * parameters * copies + conf.run.processes * (_activation_bytes(conf, vocab_size) + 5e8))
            / 1e9,
            2,
        )
        if parameters is not None
        else None,
        "checkpoint_mb": round(4 * kept * parameters / 1e6, 1) if known and parameters is not None else None,
    }


def host_memory_gb() -> float:
    """Memory that this process may use in all, in GB: the container's limit or the machine's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        total = min(total, int(limit)) if limit.isdigit() else total
    except OSError:
        return total / 1e9
    return total / 1e9


def shows_a_gpu() -> bool:
    """Whether an NVIDIA or ROCm driver shows a device, asked of the file system: a plan has no time for torch."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    drivers = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    return not hidden and any(Path(path).exists() for path in drivers)


def on_cpu(device: str) -> bool:
    """Whether training runs on the CPU: asked for, or `auto` where there is no GPU."""
    return device == "cpu" or (device == "auto" and not shows_a_gpu())


def refuse_if_too_large(conf: PretrainConf, vocab_size: int) -> None:
    """Raise `HostError` when a run on the CPU cannot fit into this machine's memory."""
    needed, there = estimate(conf, vocab_size)["memory_gb"], host_memory_gb()
    if on_cpu(conf.run.device) and needed is not None and needed > there:
        parameters = count_parameters(conf.model, vocab_size) or 0
        sizes = "model.depth" if isinstance(conf.model, NativeConf) else "the sizes in model.config"
        raise HostError(
            f"pretrain.segments.{conf.run.segment}: training {parameters / 1e6:,.0f} M parameters takes about "
            f"{needed:,.1f} GB of memory and this machine has {there:.1f}: lower pretrain.run.micro_batch (now "
            f"{conf.run.micro_batch}), pretrain.segments.{conf.run.segment}.seq_len ({conf.segment.seq_len}), "
            f"tokenizer.vocab_size ({vocab_size}) or {sizes}"
        )
