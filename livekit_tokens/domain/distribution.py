"""How often each value was seen: what an average, a percentile and a maximum are read from, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True, slots=True)
class Distribution:
    """Values (whole numbers: milliseconds, nano-dollars) and how often each was seen. Empty, it answers None."""

    counts: Mapping[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def average(self) -> int | None:
        """Rounded half up to a whole number."""
        if not self.count:
            return None
        total = sum(value * times for value, times in self.counts.items())
        return int((Decimal(total) / self.count).to_integral_value(ROUND_HALF_UP))

    @property
    def largest(self) -> int | None:
        return max(self.counts, default=None)

    def percentile(self, percent: int) -> int | None:
        """The smallest value that `percent` of all do not exceed (nearest rank): one that was seen, not between two."""
        rank = -(-self.count * percent // 100)
        for value in sorted(self.counts):
            rank -= self.counts[value]
            if rank <= 0:
                return value
        return None

    def __add__(self, other: Distribution) -> Distribution:
        both = dict(self.counts)
        for value, times in other.counts.items():
            both[value] = both.get(value, 0) + times
        return Distribution(both)

    def to_dict(self) -> dict[str, int | None]:
        return {
            "count": self.count,
            "average": self.average,
            "p50": self.percentile(50),
            "p95": self.percentile(95),
            "max": self.largest,
        }
