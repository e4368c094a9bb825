"""What all others ask of the kinds of models."""

from __future__ import annotations

from tasks.models import kind


def test_a_metric_and_its_parts_are_known_by_what_their_kind_declares() -> None:
    assert kind.metric("bits_per_byte").label == "bits per byte" and kind.metric("accuracy").better == "higher"
    part = kind.metric("bits_per_byte/my notes")
    assert (part.label, part.title, part.better) == (*["bits per byte, my notes"] * 2, "lower")
    assert kind.metric("accuracy").title == "accuracy (share of items)"
    unknown = kind.metric("some_count")
    assert (unknown.label, unknown.better, unknown.title) == ("some count", "", "some count")


def test_what_stands_for_a_step_is_what_its_kind_compares_by_then_what_trainings_have() -> None:
    assert kind.headline("evaluate_classifier", {"nats": 1, "macro_f1": 0.2, "accuracy": 0.5}) == "accuracy"
    assert kind.headline("pretrain", {"loss": 5.0, "valid_loss": 4.0}) == "valid_loss"
    assert kind.headline("somebody_elses", {"first": 1, "second": 2}) == "first"
    assert kind.headline("somebody_elses", {}) is None


def test_every_kind_declares_what_it_compares_by_among_what_can_be_compared() -> None:
    for one in kind.kinds().values():
        assert {metric.name for metric in one.compared} <= one.metrics().keys()
        assert all(metric.higher_is_better is not None for metric in one.compared)
