from __future__ import annotations

import math

from tasks.training.trainer.spike_guard import Guard


def filled(window: int = 16) -> Guard:
    guard = Guard(window, 6.0)
    for step in range(window):
        assert not guard.judge(3.0 + 0.1 * (step % 2), 1.0 + 0.1 * (step % 3))
    return guard


def test_ordinary_steps_pass_and_spikes_of_loss_or_norm_do_not() -> None:
    guard = filled()
    assert not guard.judge(3.2, 1.2)
    assert guard.judge(5.0, 1.0)
    assert guard.judge(3.0, 9.0)


def test_what_is_not_finite_is_skipped_at_once_and_not_remembered() -> None:
    guard = Guard(16, 6.0)
    assert guard.judge(math.nan, 1.0)
    assert guard.judge(1.0, math.inf)
    assert not guard.seen


def test_nothing_finite_is_a_spike_before_the_window_is_full() -> None:
    guard = Guard(16, 6.0)
    assert not any(guard.judge(loss, loss) for loss in (1.0, 1.0, 1.0, 100.0))


def test_a_flat_stretch_does_not_make_noise_a_spike() -> None:
    guard = Guard(16, 6.0)
    for _ in range(16):
        guard.judge(2.0, 1.0)
    assert not guard.judge(2.05, 1.05)


def test_a_lasting_change_is_accepted_after_a_while() -> None:
    guard = filled()
    verdicts = [guard.judge(5.0, 1.0) for _ in range(64)]
    assert verdicts[0] and not verdicts[-1]


def test_a_restored_guard_judges_as_the_one_that_was_saved() -> None:
    guard, other = filled(), Guard(16, 6.0)
    other.restore(guard.state())
    series = [(3.1, 1.0), (4.0, 1.0), (3.0, 2.0), (3.9, 1.1)]
    assert [guard.judge(*pair) for pair in series] == [other.judge(*pair) for pair in series]
    assert guard.state() == other.state()
