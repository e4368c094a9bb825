"""Teaching which of two answers is better: pairs, losses, what training comes to, what is measured of it."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.evaluate import SampleSpec
from conf.schema.finetune import FinetuneRun
from conf.schema.methods import FullMethod
from tasks.core.errors import DataError
from tasks.core.workdir import Workdir
from tasks.finetune import export
from tasks.models.preference import preference_evaluation, preference_training
from tasks.models.preference.kind import KIND, OPTIONS
from tasks.models.preference.pair_loss import PairLoss, pair_losses, two_answers
from tasks.models.preference.pairs import Encoded, cut, encode, pairs_of
from tasks.models.preference.preference_options import PreferenceConf, PreferenceEval
from tasks.text import targets
from tasks.text.encode import Encoder
from tests.tasks.tiny_model import lora, table

CONF = PreferenceConf(
    batch_size=8, epochs=6, eval_every=10, learning_rate=5e-3, run=FinetuneRun(device="cpu", threads=1)
)
EVAL = PreferenceEval(window=64, stride=32, resamples=100, prompts=("say array",), samples=SampleSpec(max_new_tokens=4))


def documents(count: int, seed: int) -> pl.DataFrame:
    """Conversations whose better answer ends with a yes, and the worse one with a no; one has no worse answer."""
    draw, rows, said = random.Random(seed), [], []
    for n in range(count):
        word = draw.choice(["array", "axis", "shape"])
        messages = [
            {"role": "user", "content": f"say {word} {seed}.{n}"},
            {"role": "assistant", "content": f"{word} yes"},
        ]
        rows.append({"text": f"{n}.{seed} {word}", "messages": messages, "source": "talk"})
        said.append(targets.write({"rejected": f"{word} no"}) if n else None)
    return table(rows).with_columns(targets=pl.Series(said, dtype=pl.String))


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for part, count, seed in (("train", 60, 1), ("valid", 20, 2), ("test", 30, 3)):
        (folder / part).mkdir()
        documents(count, seed).write_parquet(folder / part / "docs.parquet")
    return folder


def test_pairs_are_conversations_with_a_worse_last_answer(docs: Path, model_dir: Path) -> None:
    pairs = pairs_of([docs / "valid" / "docs.parquet"])
    assert len(pairs) == 19 and not pairs_of([docs / "valid" / "docs.parquet"], ("other",))
    assert all(
        one.chosen[-1]["content"].endswith(" yes") and one.rejected[-1]["content"].endswith(" no") for one in pairs
    )
    tokenizer = export.load_tokenizer(model_dir)
    for one in encode(pairs, Encoder(tokenizer)):
        assert one.chosen[: one.begin] == one.rejected[: one.begin]
        assert tokenizer.decode(one.chosen[one.begin :]).endswith(" yes<|end|>")


def test_the_beginning_is_cut_off_and_an_answer_without_room_left_out() -> None:
    one = Encoded([1, 2, 3, 4, 5, 6], [1, 2, 3, 7], begin=3)
    assert cut(one, 6) is one
    assert cut(one, 4) == Encoded([3, 4, 5, 6], [3, 7], begin=1)
    assert cut(one, 3) is None


NATS = st.floats(0.5, 20)


@given(
    st.tuples(NATS, NATS), st.tuples(NATS, NATS), st.sampled_from(["dpo", "ipo", "orpo", "simpo"]), st.floats(0.05, 3)
)
def test_losses_are_those_of_their_papers(
    nats: tuple[float, float], known: tuple[float, float], loss: Any, beta: float
) -> None:
    sizes, margin = (5, 8), 0.5
    policy, reference = [-one for one in nats], [-one for one in known]  # log-probabilities of whole answers
    mean = [one / size for one, size in zip(policy, sizes, strict=True)]
    before = [one / size for one, size in zip(reference, sizes, strict=True)]

    def log_sigmoid(value: float) -> float:
        return -math.log1p(math.exp(-value))

    odds = [one - math.log(1 - math.exp(one)) for one in mean]
    wanted = {
        "dpo": -log_sigmoid(beta * ((policy[0] - reference[0]) - (policy[1] - reference[1]))),
        "ipo": (((mean[0] - before[0]) - (mean[1] - before[1])) - 1 / (2 * beta)) ** 2,
        "orpo": -mean[0] - beta * log_sigmoid(odds[0] - odds[1]),
        "simpo": -log_sigmoid(beta * (mean[0] - mean[1]) - beta * margin),
    }[loss]
    given_ = [tuple(torch.tensor([one], dtype=torch.float64) for one in pair) for pair in (nats, sizes, known)]
    found = pair_losses(*given_, PreferenceConf(loss=loss, beta=beta, margin=margin))
    assert float(found) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("loss", ["dpo", "ipo", "orpo", "simpo"])
def test_a_batch_cut_in_passes_has_the_same_loss_and_padding_pairs_none(model_dir: Path, docs: Path, loss: Any) -> None:
    conf = CONF.model_copy(update={"loss": loss, "method": FullMethod(kind="full"), "answer_weight": 0.3})
    tokenizer = export.load_tokenizer(model_dir)
    encoded = encode(pairs_of([docs / "valid" / "docs.parquet"])[:5], Encoder(tokenizer))
    known = preference_training.reference(model_dir, encoded, conf, tokenizer, False)
    rows = [preference_training._row(one, *pair) for one, pair in zip(encoded, known, strict=True)]
    network = PairLoss(preference_training.make_network(model_dir, tokenizer, conf), conf).eval()
    collate = two_answers(export.pad_id(tokenizer))

    def loss_of(some: list[Any], labelled: int) -> float:
        arrays = collate(some)
        arrays[-1][labelled:] = -100
        assert network.weight(arrays) == labelled
        with torch.no_grad():
            return float(network(*map(torch.from_numpy, arrays))[0])

    whole = loss_of(rows, 5)
    assert whole == pytest.approx(loss_of(rows[:2], 2) + loss_of(rows[2:], 3), rel=1e-5)
    assert loss_of([*rows, rows[0]], 5) == pytest.approx(whole, rel=1e-5)
    assert loss_of(rows[:1], 0) == 0


def test_before_training_dpo_cannot_tell_any_pair_apart(model_dir: Path, docs: Path) -> None:
    conf, tokenizer = CONF.model_copy(update={"method": lora(4)}), export.load_tokenizer(model_dir)
    encoded = encode(pairs_of([docs / "valid" / "docs.parquet"])[:4], Encoder(tokenizer))
    known = preference_training.reference(model_dir, encoded, conf, tokenizer, False)
    rows = [preference_training._row(one, *pair) for one, pair in zip(encoded, known, strict=True)]
    network = PairLoss(preference_training.make_network(model_dir, tokenizer, conf), conf).eval()
    arrays = two_answers(export.pad_id(tokenizer))(rows)
    with torch.no_grad():
        assert float(network(*map(torch.from_numpy, arrays))[0]) / 4 == pytest.approx(math.log(2), abs=1e-4)


@pytest.mark.parametrize("loss", ["dpo", "ipo", "orpo", "simpo"])
def test_a_model_learns_which_answer_is_better_and_is_measured_beside_what_it_was(
    model_dir: Path, docs: Path, tmp_path: Path, loss: Any
) -> None:
    trained, measured, before = (Workdir(tmp_path / name) for name in ("trained", "measured", "before"))
    for work in (trained, measured, before):
        work.make()
    stats = preference_training.run(model_dir, [docs], CONF.model_copy(update={"loss": loss}), trained)
    assert stats["pairs"] == 59 and stats["proof"]["learnt"] > 1e-3
    folder, evalset = trained.content / "model", docs / "test" / "docs.parquet"
    ours = preference_evaluation.run(folder, evalset, EVAL, measured)
    theirs = preference_evaluation.run_start(model_dir, folder, evalset, EVAL, before)
    assert ours["pairs"] == 29 and ours["metrics"]["preference_accuracy"] > 0.9
    assert ours["metrics"]["preference_margin"] > theirs["metrics"]["preference_margin"]
    assert ours["metrics"]["longer_preference_accuracy"] == 1.0  # yes is longer than no
    items = pl.read_parquet(measured.content / "items.parquet")
    for name, metric in KIND.metrics().items():
        value = metric.value(metric.columns(items.select(metric.needs)).sum(axis=0))
        assert float(value) == pytest.approx(ours["metrics"][name], abs=2e-6)
    assert np.isclose(items["margin"].mean(), ours["metrics"]["preference_margin"], atol=1e-6)


def test_conversations_without_a_worse_answer_are_refused_by_the_option(
    model_dir: Path, docs_dir: Path, tmp_path: Path
) -> None:
    work = Workdir(tmp_path)
    work.make()
    with pytest.raises(DataError, match=r"no pair of answers.*rejected: COLUMN"):
        preference_training.run(model_dir, [docs_dir], CONF, work)


def test_a_length_has_no_margin() -> None:
    with pytest.raises(ValueError, match="a length has no nats"):
        OPTIONS.model_validate({"kind": "preference", "gate": {"metric": "preference_margin", "floors": ["longer"]}})
