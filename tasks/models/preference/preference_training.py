"""Fine-tuning on pairs of answers, of which one is better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tasks.core.errors import DataError, StepError
from tasks.core.number_format import plural
from tasks.core.run_warnings import told
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.finetune import export, methods
from tasks.finetune.chat_template import check_template, generation, stop_id
from tasks.finetune.examples import Collate, Row
from tasks.finetune.preview import WARN
from tasks.finetune.same_model import write_proven
from tasks.finetune.tuning import seed, set_up, tune
from tasks.formats.document_files import documents_in
from tasks.formats.tokens import IGNORE
from tasks.models.preference.pair_loss import PairLoss, answer_nats, two_answers
from tasks.models.preference.pairs import Encoded, cut, encode, pairs_of
from tasks.models.preference.preference_options import REFERENCES, PreferenceConf
from tasks.text.encode import Encoder
from tasks.training.network.model import LossModule, has_plain_head


def run(model: Path, docs: Sequence[Path], conf: PreferenceConf, work: Workdir) -> Stats:
    """Fine-tune the causal model in `model` on the pairs in the train parts of `docs`; write model/."""
    name = conf.run.model
    if isinstance(conf.max_length, int):
        export.check_context(model, conf.max_length, name)
    on_gpu = set_up(conf)
    conf = methods.rated(conf, model, conf.method)
    tokenizer = export.load_tokenizer(model)
    check_template(tokenizer)
    found, kept = {}, {}
    for part, most in (("train", conf.max_pairs), ("valid", conf.max_valid)):
        pairs = pairs_of([documents_in(doc, part) for doc in docs])[:most]
        if not pairs:
            raise DataError(
                f"the {part} part holds no pair of answers: say in `columns` of a source, {{rejected: COLUMN}}, where "
                f"the worse one is, or name other sources in models.{name}.data.sources"
            )
        found[part] = encode(pairs, Encoder(tokenizer))
    longest = max(len(side) for one in found["train"] for side in (one.chosen, one.rejected))
    fitting = min(longest, export.context_of(model) or longest)
    length = conf.max_length if isinstance(conf.max_length, int) else fitting
    for part, encoded in found.items():
        kept[part] = [short for one in encoded if (short := cut(one, length))]
        if not kept[part]:
            raise DataError(f"no pair of the {part} part fits {length} tokens: raise models.{name}.train.max_length")
    known = iter(reference(model, [*kept["train"], *kept["valid"]], conf, tokenizer, on_gpu))
    rows, valid = ([_row(one, *next(known)) for one in kept[part]] for part in ("train", "valid"))
    outcome = tune(build, model, rows, valid, conf, work, {"conf": conf.model_dump(mode="json")})
    task = {"kind": "preference", "max_length": length, "stop_id": stop_id(tokenizer)}
    proven = [{**row, "labels": [*[IGNORE] * row["begin"], *row["input_ids"][row["begin"] :]]} for row in valid]
    network, how = make_network(model, tokenizer, conf), generation(tokenizer)
    proof = write_proven(network, outcome, proven, AutoModelForCausalLM, model, work / "model", task, name, how)
    if encode(pairs_of([documents_in(doc, "valid") for doc in docs])[: conf.max_valid],
              Encoder(export.load_tokenizer(work / "model"))) != found["valid"]:  # fmt: skip
        raise StepError("the tokenizer that was written reads conversations otherwise than the one trained with")
    left_out = len(found["train"]) - len(rows)
    return {
        "pairs": len(rows),
        "left_out": left_out,
        "cut": sum(max(len(one.chosen), len(one.rejected)) > length for one in found["train"]) - left_out,
        "max_length": length,
        "steps": outcome.steps,
        "proof": proof,
        "warnings": _left_out(left_out, len(found["train"]), length, name),
        "metrics": {"valid_loss": outcome.valid_loss},
    }


def _row(one: Encoded, chosen: float, rejected: float) -> Row:
    ids = {"input_ids": one.chosen, "rejected": one.rejected, "begin": one.begin}
    return {**ids, "reference": chosen, "rejected_reference": rejected}


def _left_out(pairs: int, found: int, length: int, model: str) -> list[dict[str, str]]:
    """That pairs are left out, if they are many."""
    if pairs <= WARN * found:
        return []
    text = f"{pairs} of {plural(found, 'pair')} are left out: an answer alone is as long as {length} tokens"
    return [told(text, f"models.{model}.train.max_length")]


@torch.no_grad()
def reference(
    model: Path, pairs: Sequence[Encoded], conf: PreferenceConf, tokenizer: PreTrainedTokenizerFast, on_gpu: bool
) -> Iterator[tuple[float, float]]:
    """The nats of both answers of each pair as the model in a folder says them, before it is trained; zeros where the
    loss does not look at them."""
    if conf.loss not in REFERENCES:
        yield from ((0.0, 0.0) for _ in pairs)
        return
    network = export.load_whole(AutoModelForCausalLM, model, conf.run.model, dtype=torch.float32).eval()
    network, plain = network.to("cuda" if on_gpu else "cpu"), has_plain_head(network)
    collate = two_answers(export.pad_id(tokenizer))
    for start in range(0, len(pairs), conf.run.micro_batch):
        ids, _, labels = collate([_row(one, 0.0, 0.0) for one in pairs[start : start + conf.run.micro_batch]])
        given, said = (torch.from_numpy(one).flatten(0, 1).to(network.device) for one in (ids, labels))
        nats, _ = answer_nats(network, given, said, plain)
        yield from ((chosen, rejected) for chosen, rejected in nats.view(-1, 2).tolist())


def build(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """The model in a folder as it is tuned, its loss, and the collation of pairs."""
    conf, tokenizer = PreferenceConf.model_validate(about["conf"]), export.load_tokenizer(model)
    network = make_network(model, tokenizer, conf)
    loss = PairLoss(network, conf)
    loss.rates = methods.rates_of(network, conf.method)
    return loss, two_answers(export.pad_id(tokenizer))


def make_network(model: Path, tokenizer: PreTrainedTokenizerFast, conf: PreferenceConf) -> Any:
    """The model in a folder with what its method adds, and with trainable rows for the special tokens."""
    seed(conf)
    base = export.load_whole(AutoModelForCausalLM, model, conf.run.model, dtype=torch.float32)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return methods.prepare(base, conf.method, f"models.{conf.run.model}.method", sorted(special))
