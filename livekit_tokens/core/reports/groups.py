"""Groups: what matched a question, added up per key. All that the other answers are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from livekit_tokens.domain.periods import CUTTINGS, Cut
from livekit_tokens.domain.summary import service_order
from livekit_tokens.domain.totals import Totals
from livekit_tokens.domain.usage import KINDS


@dataclass(frozen=True, slots=True)
class Group:
    """One group of a report; `key` has the names of `by`. None is a user, room, tag ... that was not known."""

    key: Mapping[str, str | None]
    sessions: int
    totals: Totals

    @property
    def avg_tokens_per_session(self) -> Decimal:
        average = Decimal(self.totals.total_tokens) / max(self.sessions, 1)
        return average.quantize(Decimal("0.01"), ROUND_HALF_UP)

    def to_dict(self) -> dict[str, object]:
        return {
            "key": dict(self.key),
            "avg_tokens_per_session": str(self.avg_tokens_per_session),
            "sessions": self.sessions,
            **self.totals.to_dict(),
        }


def in_order(groups: Sequence[Group], cuts: Sequence[Cut] = ()) -> list[Group]:
    """Groups by key: services in the known order, hours and days as they came, the rest by name, unknown last."""
    # By text, the second 02:00 of an autumn night (+01:00) would come before the first (+02:00).
    place = {cut.key: number for number, cut in enumerate(cuts)}

    def standing(name: str, value: str | None) -> tuple[object, ...]:
        if name in CUTTINGS:
            return (place[value or ""],)
        if name == "kind":
            return (KINDS.index(value or ""),)
        return service_order(value) if name == "service" else (value is None, value or "")

    return sorted(groups, key=lambda group: tuple(standing(*pair) for pair in group.key.items()))
