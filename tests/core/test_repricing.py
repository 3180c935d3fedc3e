"""The repricing's own rules; what it does to a database is in tests/store."""

from __future__ import annotations

import pytest

from livekit_tokens.core.repricing import Bucket, Pruned, pruned
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.times import QUARTER as Q


@pytest.mark.parametrize(
    ("buckets", "named"),
    [
        ([], []),
        ([(0, 3, 3)], []),
        ([(0, 3, 0)], [(0, 1, 3)]),
        ([(0, 3, 1), (9, 2, 0)], [(0, 10, 4)]),
        ([(0, 3, 0), (1, 2, 2), (2, 1, 0)], [(0, 1, 3), (2, 3, 1)]),
        ([(0, 3, 4)], []),
    ],
    ids=["nothing", "complete", "gone", "nothing between", "complete between", "drained meanwhile"],
)
def test_times_whose_records_are_missing_are_told_as_spans(
    buckets: list[tuple[int, int, int]], named: list[tuple[int, int, int]]
) -> None:
    """Quarters of an hour with more requests in the sums than there are records; neighbours are one span."""
    found = pruned(Bucket(at * Q, summed, there) for at, summed, there in buckets)
    assert list(found) == [Pruned(Period(since * Q, until * Q), requests) for since, until, requests in named]
