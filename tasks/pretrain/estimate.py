"""What training will take, computed from the config alone: no torch, so that a plan is instant."""

from __future__ import annotations

from conf import encoder_sizes
from conf.model_size import as_transformers, count_parameters, options_of
from conf.schema.model import ModelConf, NativeConf, NetworkConf
from conf.schema.pretrain import PretrainConf, PretrainRun
from tasks.core.devices import Gpu
from tasks.core.errors import HostError
from tasks.training.planning.hardware import host_memory_gb, on_cpu, peak_flops

PARTS = ("weights", "gradients", "optimizer", "activations")
"""What the memory of a training process holds."""
EXPECTED_MFU = 0.4
"""The share of a GPU's FLOPs that training is expected to reach before it has been measured."""


def flops_per_token(conf: NetworkConf, vocab_size: int, seq_len: int) -> int | None:
    """Forward and backward FLOPs of one token: 6 per weight that is multiplied, and 12 layers·width·seq_len of
    attention (torchtitan's formula; Chowdhery et al., PaLM, 2022, appendix B)."""
    conf = as_transformers(conf)
    parameters = count_parameters(conf, vocab_size)
    if parameters is None:
        return None
    if conf.architecture in encoder_sizes.DEFAULTS:
        return int(encoder_sizes.measure(conf, vocab_size, seq_len).flops)
    o = options_of(conf)
    gpt = conf.architecture == "gpt2"
    layers, width = (o["n_layer"], o["n_embd"]) if gpt else (o["num_hidden_layers"], o["hidden_size"])
    heads = o["n_head"] if gpt else o["num_attention_heads"]
    size = width // heads if gpt else o.get("head_dim") or width // heads
    looked_up = o["n_positions"] * width if gpt else 0
    looked_up += 0 if conf.tie_embeddings else vocab_size * width
    return int(6 * (parameters - looked_up) + 12 * layers * heads * size * seq_len)


def _shape(conf: ModelConf) -> tuple[int, int]:
    """The number of layers, and their width."""
    if conf.architecture in encoder_sizes.DEFAULTS:
        return encoder_sizes.measure(conf, 0, 0)[2:]
    o = options_of(conf)
    return (o["n_layer"], o["n_embd"]) if conf.architecture == "gpt2" else (o["num_hidden_layers"], o["hidden_size"])


def _activation_bytes(conf: PretrainConf, vocab_size: int, each: int) -> int:
    """Activations kept for one backward pass of one process: about 34 numbers of `each` bytes a token, layer and unit
    of width (Korthikanti et al., 2022), less where they are computed again, and three copies of the logits."""
    layers, width = _shape(as_transformers(conf.model))
    processes = conf.run.world // conf.run.tensor_parallel
    rows = min(conf.run.micro_batch, -(-conf.segment.sequences // processes))
    most, budget = 34 * layers, conf.run.checkpointing_budget
    ways = {"none": most, "selective": 12 * layers + 34, "full": layers + 34, "budget": budget * most + layers + 34}
    kept = ways[conf.run.activation_checkpointing]
    return int(rows * conf.segment.seq_len * each * (kept * width + 3 * vocab_size))


def _kept(conf: PretrainConf) -> int:
    """Numbers that a checkpoint holds for each parameter: weight, moments, the average of the weights."""
    optimizer = conf.optimizer
    moments = {"sgd": int(optimizer.momentum > 0)}.get(optimizer.kind, 2)
    return 1 + moments + int(conf.segment.ema is not None)


def memory(conf: PretrainConf, vocab_size: int, *, gpu: bool) -> dict[str, float] | None:
    """Bytes of one process by what they hold: weights, gradients, optimizer, activations, on a CPU also rest: the copy
    that a checkpoint is written from, and torch itself. None for an architecture that is not known here.

    Weights, gradients and moments are fp32, on GPUs beside a copy of the weights in bf16, which autocast keeps for a
    pass. Korthikanti's 34 are bytes, of numbers in 16 bits; the loss on a CPU needs about four times as much.
    """
    parameters, run = count_parameters(conf.model, vocab_size), conf.run
    if parameters is None:
        return None
    half = gpu and run.precision != "fp32"
    spread = run.shard_processes is not None or run.tensor_parallel > 1
    sharded = run.parallel == "fsdp" or (run.parallel == "auto" and (gpu or spread))
    sharing = run.tensor_parallel * run.shard_processes if run.shard_processes else run.world
    own = parameters / sharing if sharded else parameters
    found = {
        "weights": 4 * own + (2 * parameters if half else 0),
        "gradients": 4 * own,
        "optimizer": 4 * (_kept(conf) - 1) * own,
        "activations": float(_activation_bytes(conf, vocab_size, 1 if half else 2 if gpu else 4)),
    }
    return found if gpu else {**found, "rest": 4 * _kept(conf) * own + 5e8}


def estimate(conf: PretrainConf, vocab_size: int) -> dict[str, float | int | None]:
    """What one segment takes: parameters, tokens, flops, memory_gb (of this machine), checkpoint_mb (one of them); and
    of each process, or GPU, weights_gb, gradients_gb, optimizer_gb, activations_gb.

    Numbers that depend on an architecture not known here are None.
    """
    parameters = count_parameters(conf.model, vocab_size)
    flops = flops_per_token(conf.model, vocab_size, conf.segment.seq_len)
    tokens = conf.segment.tokens_after(conf.segment.steps)
    held = memory(conf, vocab_size, gpu=_on_gpu(conf.run))
    parts = dict.fromkeys(PARTS) if held is None else {name: round(held[name] / 1e9, 3) for name in PARTS}
    return {
        "parameters": parameters,
        "tokens": tokens,
        "flops": flops * tokens if flops is not None else None,
        "memory_gb": round(conf.run.processes * sum(held.values()) / 1e9, 2) if held is not None else None,
        "checkpoint_mb": round(4 * _kept(conf) * parameters / 1e6, 1) if parameters is not None else None,
        **{f"{name}_gb": value for name, value in parts.items()},
    }


def in_words(conf: PretrainConf, vocab_size: int) -> str:
    """The estimate in one line, for the log of a run that begins."""
    found = estimate(conf, vocab_size)
    if found["parameters"] is None:
        return f"to train on {found['tokens']:,} tokens in {conf.segment.steps:,} steps"
    held = ", ".join(f"{name} {found[f'{name}_gb']:.3g}" for name in PARTS)
    return (
        f"to train {found['parameters'] / 1e6:,.1f} M parameters on {found['tokens']:,} tokens in "
        f"{conf.segment.steps:,} steps: {found['flops'] or 0:.2e} FLOPs; about so many GB in each process: {held}; "
        f"checkpoints of {found['checkpoint_mb']:,.0f} MB"
    )


def foretold_seconds(conf: PretrainConf, flops: float | None, gpu: Gpu | None) -> float | None:
    """How long `flops` may take on as many such GPUs as there are processes in all; None where not known."""
    peak = peak_flops(gpu.name) if gpu is not None and not on_cpu(conf.run.device) else None
    return None if peak is None or flops is None else round(flops / (EXPECTED_MFU * peak * conf.run.world), 1)


def _on_gpu(run: PretrainRun) -> bool:
    return run.device != "cpu" and (bool(run.resources.gpu) or not on_cpu(run.device))


def _there(run: PretrainRun, device_gb: float | None, *, gpu: bool) -> float | None:
    """GB of memory of each GPU, or of the machine, where it is to run; None where that is not known."""
    asked = run.resources.gpu_memory_gb if gpu else run.resources.memory_gb
    if run.elsewhere:
        return asked
    return device_gb if gpu else host_memory_gb()


def refuse_if_too_large(conf: PretrainConf, vocab_size: int, device_gb: float | None = None) -> None:
    """Raise `HostError` when a run cannot fit into this machine's memory, or into GPUs of `device_gb` each, if known.

    With `pretrain.run.auto_micro_batch` the smallest micro-batch has to fit.
    """
    run = conf.run.model_copy(update={"micro_batch": 1}) if conf.run.auto_micro_batch else conf.run
    gpu = _on_gpu(run)
    held = memory(conf.model_copy(update={"run": run}), vocab_size, gpu=gpu)
    there = _there(run, device_gb, gpu=gpu)
    if held is None or there is None:
        return
    needed = (1 if gpu else run.processes) * sum(held.values()) / 1e9
    if needed > there:
        parameters = count_parameters(conf.model, vocab_size) or 0
        sizes = "model.depth" if isinstance(conf.model, NativeConf) else "the sizes in model.config"
        what = "memory and a GPU here" if gpu else "memory and this machine"
        micro = "" if run.micro_batch == 1 else f"lower pretrain.run.micro_batch (now {run.micro_batch}), "
        micro += "" if run.activation_checkpointing == "full" else "set pretrain.run.activation_checkpointing=full, "
        micro += "shard over more pretrain.run.processes (one for each GPU), " if gpu else ""
        raise HostError(
            f"pretrain.segments.{run.segment}: training {parameters / 1e6:,.0f} M parameters takes about "
            f"{needed:,.1f} GB of {what} has {there:.1f}: {micro}lower pretrain.segments.{run.segment}.seq_len "
            f"({conf.segment.seq_len}), tokenizer.vocab_size ({vocab_size}) or {sizes}"
        )
