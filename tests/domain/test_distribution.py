"""Averages, percentiles and maxima out of counted values."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.domain.distribution import Distribution


def of(values: list[int]) -> Distribution:
    return Distribution({value: values.count(value) for value in values})


@given(st.lists(st.integers(0, 50), min_size=1))
def test_a_percentile_is_the_nearest_rank(values):
    """As if every value stood in one sorted list."""
    ordered = sorted(values)
    for percent in (1, 50, 95, 100):
        rank = -(-len(values) * percent // 100)
        assert of(values).percentile(percent) == ordered[rank - 1]


@given(st.lists(st.integers(0, 50), min_size=1))
def test_the_average_is_that_of_all_values(values):
    """To the nearest whole number."""
    assert abs(of(values).average - statistics.fmean(values)) <= 0.5


def test_nothing_seen_has_no_figures():
    """None, never 0: no request was that fast."""
    assert Distribution().to_dict() == {"count": 0, "average": None, "p50": None, "p95": None, "max": None}


def test_two_add_up():
    """Counts by value."""
    assert Distribution({1: 2, 5: 1}) + Distribution({5: 3}) == Distribution({1: 2, 5: 4})
