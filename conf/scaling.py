"""What a native model's depth sets beside its own sizes: `auto` in a recipe's pretraining, worked out here.

The rules, each given up for a number that is given itself; those that follow from it then follow from the number:

- `tokens`: 20 for each parameter (Hoffmann et al., 2022).
- `batch_tokens`: 2^18 at 2.5e9 tokens, growing with tokens^0.383 whatever the model (Bergsma et al., 2025; nanochat),
  to the nearest power of two of sequences; at most about a thousandth of the tokens, so that a short run has steps.
- `peak_lr`: 1.5e-3 at width 768 (as llm.c's GPT-2), falling with the square root of the width (nanochat); with another
  batch than the rule's, times the square root of its share of that (Malladi et al., 2022).
- `weight_decay`: such that AdamW's weights are an average over a quarter of the run (Wang and Aitchison, 2024), or
  over a share that falls with the square root of the tokens for each parameter, beyond 20 (Bergsma et al., 2025).

A model that is tuned has `learning_rate: auto` by `tuning_rate`.

The rules for width, heads and the rest stand at their options in conf/schema/model.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from conf.schema.model import NativeConf
from conf.schema.pretrain import SegmentConf
from conf.schema.recipe import Recipe
from tasks.core.errors import ConfigError

AUTO = "auto"
TOKENS_PER_PARAMETER = 20
FEWEST_STEPS = 1000
OF_SEGMENTS = ("tokens", "batch_tokens", "peak_lr")
OF_THE_OPTIMIZER = ("weight_decay",)


@dataclass(frozen=True)
class Place:
    """One `auto` in a recipe's values."""

    holder: dict[str, Any]
    option: str
    segment: str | None

    def __str__(self) -> str:
        return f"pretrain.{f'segments.{self.segment}' if self.segment else 'optimizer'}.{self.option}"


def set_aside(values: Any) -> list[Place]:
    """Put stand-ins that any check lets pass in place of every `auto`, and return where they are."""
    pretrain = values.get("pretrain")
    pretrain = pretrain if isinstance(pretrain, dict) else {}
    segments = pretrain.get("segments")
    holders: list[tuple[Any, tuple[str, ...], str | None]] = [
        (segment, OF_SEGMENTS, str(name)) for name, segment in (segments or {}).items()
    ]
    holders += [(pretrain.get("optimizer"), OF_THE_OPTIMIZER, None)]
    places = [
        Place(holder, option, segment)
        for holder, options, segment in holders
        for option in options
        if isinstance(holder, dict) and holder.get(option) == AUTO
    ]
    for place in places:
        length = place.holder.get("seq_len", SegmentConf.model_fields["seq_len"].default)
        whole = isinstance(length, int) and place.option == "batch_tokens"
        place.holder[place.option] = length << 20 if whole else 1
    return places


def fill(recipe: Recipe, places: list[Place]) -> None:
    """Put numbers in place of the stand-ins that the checked recipe was made with; raises `ConfigError` for a model
    that the rules are not for."""
    from conf.model_size import count_parameters

    tokenizer, network, pretrain = recipe.pretraining
    if not isinstance(network, NativeConf):
        raise ConfigError(
            f"{places[0]}={AUTO} follows the depth of a native model: choose one (model=native), or give a number"
        )
    if (kind := pretrain.optimizer.kind) in ("adam", "sgd"):
        raise ConfigError(
            f"{places[0]}={AUTO}: the rules are AdamW's, not those of pretrain.optimizer.kind={kind}: give a number"
        )
    parameters = count_parameters(network, tokenizer.vocab_size) or 1
    segments = pretrain.segments
    found = {
        name: numbers(segment, {p.option for p in places if p.segment == name}, network.width, parameters)
        for name, segment in segments.items()
    }
    for place in places:
        # All segments share one optimizer: the first one decides.
        place.holder[place.option] = found[place.segment or next(iter(segments))][place.option]


def numbers(segment: SegmentConf, auto: set[str], width: int, parameters: int) -> dict[str, float]:
    """The numbers of a segment: by the rules those that `auto` names, the others as they are."""
    tokens = TOKENS_PER_PARAMETER * parameters if "tokens" in auto else segment.tokens
    best = min(2**18 * (tokens / 2.5e9) ** 0.383, tokens / FEWEST_STEPS)
    batch, rate = segment.batch_tokens, segment.peak_lr
    if "batch_tokens" in auto:
        batch = segment.seq_len * 2 ** max(0, round(math.log2(best / segment.seq_len)))
    if "peak_lr" in auto:
        rate = _rounded(1.5e-3 * math.sqrt(768 / width) * math.sqrt(batch / best))
    share = 0.25 * math.sqrt(min(1.0, TOKENS_PER_PARAMETER * parameters / tokens))
    decay = _rounded(batch / (rate * tokens * share))
    return {"tokens": tokens, "batch_tokens": batch, "peak_lr": rate, "weight_decay": decay}


def _rounded(value: float) -> float:
    """Three digits: a rule knows no more."""
    return float(f"{value:.3g}")


NEW_NETWORK_RATE = 1e-3
"""Of a network that knows nothing before it is trained: Adam's own (Kingma and Ba 2015)."""
SMALL = 512
"""Below this width a model is no published one, but one's own, pretrained a moment ago."""


def tuning_rate(sort: str, width: int, method: str, *, fresh_head: bool = False) -> float:
    """The highest learning rate of fine-tuning, to two digits; `sort` is that of the network, `method` the kind of
    method, `fresh_head` whether a head is trained that is new.

    Causal models 5e-5·(2000/width)^0.781, and adapters ten times that (Thinking Machines' tinker-cookbook, fitted over
    Llama models; "LoRA Without Regret", 2025); encoders 3e-5 at width 768 (Devlin et al., 2019: 2e-5 to 5e-5), and with
    the width alike; encoders with a decoder 1e-4 there (transformers' guide for T5: 1e-4 to 3e-4); a head alone 1e-3; a
    fresh head on all of a small model of one's own 2e-3, as in our demo.
    """
    if method == "head":
        return 1e-3
    if fresh_head and sort == "causal" and width < SMALL and method == "full":
        return 2e-3
    full = {"causal": 5e-5 * (2000 / width) ** 0.781, "span": 1e-4 * (768 / width) ** 0.781}.get(
        sort, 3e-5 * (768 / width) ** 0.781
    )
    return float(f"{full if method == 'full' else 10 * full:.2g}")
