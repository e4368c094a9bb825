from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.evaluate import EvaluateRun, WindowConf
from tasks.core.errors import ConfigError
from tasks.core.events import Event, heard_by
from tasks.evaluate import scoring

CPU = EvaluateRun(device="cpu", threads=1)


@given(st.lists(st.integers(1, 200), max_size=8), st.integers(2, 40), st.data())
def test_every_token_but_the_first_is_scored_once_in_a_window_that_fits(
    lengths: list[int], window: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, window - 1))
    found = scoring.spans(lengths, window, stride)
    scored = sorted((text, at) for text, _, end, first in found for at in range(first, end))
    assert scored == [(text, at) for text, length in enumerate(lengths) for at in range(1, length)]
    assert all(0 <= begin < first and end - begin <= window for _, begin, end, first in found)
    assert all(first - begin >= window - stride for _, begin, _, first in found if begin > 0)


@given(st.lists(st.integers(2, 60), min_size=1, max_size=30), st.integers(1, 200))
def test_batches_hold_every_window_once_and_keep_to_the_budget(lengths: list[int], budget: int) -> None:
    windows = scoring.spans(lengths, 60, 30)
    found = scoring.batches(windows, budget)
    assert sorted(span for batch in found for span in batch) == sorted(windows)
    assert all(len(batch) == 1 or len(batch) * max(e - b for _, b, e, _ in batch) <= budget for batch in found)


def test_scoring_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SAY_EVERY", 0.0)
    grouped = scoring.batches(scoring.spans([10, 20, 30], 60, 30), 30)
    said: list[Event] = []
    with heard_by(said.append):
        assert list(scoring.followed(grouped)) == grouped
    assert [(one.done, one.total) for one in said] == [(1, 3), (2, 3), (3, 3)]
    assert said[-1].left == 0 and "tokens/s" in said[-1].text


def test_batched_losses_are_those_of_each_text_alone(model_dir: Path) -> None:
    model = scoring.load_causal(model_dir, scoring.set_up(CPU))
    rng = np.random.default_rng(0)
    texts = [rng.integers(4, 300, size=n).tolist() for n in (2, 17, 40, 64, 3, 1)]
    nats = scoring.token_nats(model, texts, WindowConf(window=64, stride=32, batch_tokens=150, run=CPU))
    for text, losses in zip(texts, nats, strict=True):
        assert len(losses) == len(text) - 1
        with torch.no_grad():
            logits = torch.log_softmax(model(input_ids=torch.tensor([text])).logits[0], dim=-1)
        expected = [-float(logits[at, token]) for at, token in enumerate(text[1:])]
        np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)


def test_more_context_changes_the_losses_of_a_long_text(model_dir: Path) -> None:
    model = scoring.load_causal(model_dir, scoring.set_up(CPU))
    text = np.random.default_rng(0).integers(4, 300, size=150).tolist()
    (short,), (long,) = (
        scoring.token_nats(model, [text], WindowConf(window=w, stride=w // 2, run=CPU)) for w in (8, 64)
    )
    assert len(short) == len(long) == 149 and not np.allclose(short, long)


def test_a_window_beyond_the_models_context_is_a_config_error(model_dir: Path) -> None:
    model = scoring.load_causal(model_dir, scoring.set_up(CPU))
    with pytest.raises(ConfigError, match="window=64"):
        scoring.token_nats(model, [[1, 2]], WindowConf(window=65, stride=8, run=CPU))
    assert len(scoring.token_nats(model, [[1, 2]], WindowConf(window=64, stride=8, run=CPU))[0]) == 1, "as it says"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to run on")
def test_an_evaluation_that_finds_no_gpu_runs_on_the_cpu_as_its_message_says() -> None:
    with pytest.raises(ConfigError, match=r"set models\.base\.evaluate\.run\.device=cpu"):
        scoring.set_up(EvaluateRun(device="cuda", model="base"))
    assert scoring.set_up(EvaluateRun(device="cpu")).type == "cpu"


def test_a_stride_that_leaves_no_context_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller than window"):
        WindowConf(window=8, stride=8)
