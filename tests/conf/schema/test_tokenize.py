"""Which tables of cluster sizes and times make sense."""

from __future__ import annotations

import pytest

from conf.compose import compose
from conf.schema.tokenize import UpsampleConf
from tasks.core.errors import ConfigError


def test_nothing_is_upsampled_unless_it_is_asked_for() -> None:
    assert compose("demo").data.upsample is None


def test_sizes_mean_the_same_in_any_order_and_can_be_given_one_by_one() -> None:
    given = compose("demo", ("data.upsample.times={100: 1, 2: 2, 5: 4}",)).data.upsample
    assert given == UpsampleConf(times={2: 2, 5: 4, 100: 1}) and given is not None
    assert list(given.times) == [2, 5, 100] and given.passes == ("pass-2", "pass-3", "pass-4")
    both = compose("demo", ("data.upsample.times={2: 2}", "data.upsample.times.5=3")).data.upsample
    assert both == UpsampleConf(times={2: 2, 5: 3})


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ("{1: 2}", r"data\.upsample\.times: 1 is no size of a cluster of duplicates: give sizes from 2 on"),
        ("{2: 17}", r"data\.upsample\.times\.2: Input should be less than or equal to 16"),
        ("{2: 2, 9: 0}", r"data\.upsample\.times\.9: Input should be greater than or equal to 1"),
        ("{2: 1, 9: 1}", r"nothing would be seen more than once: give a size more than 1, or set upsample to null"),
        ("{}", r"data\.upsample\.times: .*at least 1 item"),
        ("{few: 2}", r"data\.upsample\.times\.few.*valid integer"),
    ],
)
def test_a_table_that_repeats_nothing_everything_or_too_often_is_refused(times: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose("demo", (f"data.upsample.times={times}",))
