from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from conf.schema.pretrain import SegmentConf
from tasks.training.trainer.schedule import learning_rate


def rates(**options: object) -> list[float]:
    conf = SegmentConf.model_validate({"tokens": 100 * 8, "batch_tokens": 8, "seq_len": 8, "peak_lr": 1.0, **options})
    return [learning_rate(step, conf) for step in range(1, conf.steps + 1)]


def test_wsd_rises_stays_and_falls() -> None:
    found = rates(warmup=0.1, decay=0.2)
    assert found[0] == 0.1
    assert found[9:80] == [1.0] * 71
    assert all(a > b for a, b in itertools.pairwise(found[79:]))
    assert 0 < found[-1] < 0.05


def test_cosine_ends_at_the_final_rate() -> None:
    found = rates(schedule="cosine", warmup=0.1, final_lr=0.1)
    assert max(found) == found[9] == 1.0
    assert abs(found[-1] - 0.1) < 1e-9


@given(
    warmup=st.floats(0, 0.5),
    decay=st.floats(0, 0.5),
    final=st.floats(0, 1),
    schedule=st.sampled_from(["wsd", "cosine"]),
    steps=st.integers(1, 50),
)
def test_every_rate_is_above_zero_before_the_end_and_at_most_the_peak(
    warmup: float, decay: float, final: float, schedule: str, steps: int
) -> None:
    found = rates(warmup=warmup, decay=decay, final_lr=final, schedule=schedule, tokens=steps * 8)
    assert len(found) == steps
    assert all(0 < rate <= 1 + 1e-12 for rate in found[:-1])
    assert 0 <= found[-1] <= 1 + 1e-12
