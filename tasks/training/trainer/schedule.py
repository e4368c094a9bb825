"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from tasks.training.job import Budget


def learning_rate(step: int, conf: Budget) -> float:
    """The rate of optimizer step `step` (from 1 to conf.steps).

    wsd: linear warm-up, constant, linear decay (Hu et al., MiniCPM, 2024); cosine: linear warm-up, then half a cosine
    down to final_lr (Loshchilov and Hutter, 2017); linear: linear warm-up, then a line down to final_lr.
    """
    warmup = round(conf.warmup * conf.steps)
    if step <= warmup:
        return conf.peak_lr * step / warmup
    if conf.schedule == "cosine":
        gone = (step - warmup) / max(1, conf.steps - warmup)
        return conf.peak_lr * (conf.final_lr + (1 - conf.final_lr) * 0.5 * (1 + math.cos(math.pi * gone)))
    decay = conf.steps - warmup if conf.schedule == "linear" else round(conf.decay * conf.steps)
    left = conf.steps - step + 1
    if left > decay:
        return conf.peak_lr
    return conf.peak_lr * (conf.final_lr + (1 - conf.final_lr) * left / (decay + 1))
