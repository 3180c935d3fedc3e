"""When calls come: the busy hours of working days, quiet nights and weekends, and a business that grows."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from livekit_tokens.domain.periods import HOUR, Period
from livekit_tokens.domain.times import Micros

_OF_HOUR = (2, 1, 1, 1, 1, 2, 5, 14, 40, 75, 90, 85, 60, 70, 85, 80, 70, 55, 40, 30, 20, 12, 7, 4)
"""Calls in an hour of the day (UTC) beside those of the others: an office's day."""

_OF_DAY = (1.1, 1.0, 1.0, 1.0, 0.95, 0.4, 0.3)
"""The same for days from Monday on."""

_GROWTH = 1.8
"""How much busier the end of the period is than its beginning."""

_FIRST_DAY = 3
"""1970-01-01 was a Thursday, counted from Monday as 0."""


class Rhythm:
    """The hours of a period, counted from its beginning, each with its share of the traffic; at least one hour."""

    def __init__(self, period: Period) -> None:
        self._hours = range(period.since, period.until - HOUR + 1, HOUR)
        weights = (_weight(at, (at - period.since) / (period.until - period.since)) for at in self._hours)
        self._until = list(accumulate(weights))

    def at(self, share: float) -> Micros:
        """The moment by which `share` (0 to 1, 1 excluded) of the period's traffic has come."""
        sought = share * self._until[-1]
        hour = bisect_right(self._until, sought)
        before = self._until[hour - 1] if hour else 0.0
        return self._hours[hour] + int((sought - before) / (self._until[hour] - before) * HOUR)


def _weight(at: Micros, passed: float) -> float:
    hour = at // HOUR
    day = (hour // 24 + _FIRST_DAY) % 7
    return _OF_HOUR[hour % 24] * _OF_DAY[day] * (1 + (_GROWTH - 1) * passed)
