"""What only single requests tell: how long they took, how good they were, why they have no price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from livekit_tokens.domain.distribution import Distribution
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

Key = tuple[str | None, ...]
"""The values of a question's `by`, in its order; None is what was not known."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Sums of the scores that callers gave, usually from 0 to 1, and how many requests have one."""

    quality_sum: float = 0.0
    quality_count: int = 0
    safety_sum: float = 0.0
    safety_count: int = 0

    @property
    def quality(self) -> float | None:
        """The average; None where nothing was scored."""
        return self.quality_sum / self.quality_count if self.quality_count else None

    @property
    def safety(self) -> float | None:
        return self.safety_sum / self.safety_count if self.safety_count else None

    def __add__(self, other: Scores) -> Scores:
        return Scores(
            self.quality_sum + other.quality_sum,
            self.quality_count + other.quality_count,
            self.safety_sum + other.safety_sum,
            self.safety_count + other.safety_count,
        )

    def to_dict(self) -> dict[str, object]:
        return {
            "quality": {"count": self.quality_count, "average": _rounded(self.quality)},
            "safety": {"count": self.safety_count, "average": _rounded(self.safety)},
        }


class Measured(NamedTuple):
    """Milliseconds of the requests that have them, the scores that were given, and failed requests by error's class."""

    response_ms: Distribution = Distribution()
    first_output_ms: Distribution = Distribution()
    scores: Scores = Scores()
    errors: Mapping[str, int] = MappingProxyType({})


def _rounded(score: float | None) -> float | None:
    # Databases add floats in an order of their own: beyond this the digits are not the scores'.
    return None if score is None else round(score, 9)


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Requests of one model that have no price for one reason; `why` is None where that was never written down.

    `last` is the newest of them.
    """

    why: str | None
    requests: int
    first_at: Micros
    last: UsageRecord
