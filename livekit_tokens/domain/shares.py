"""Ratios: what part of a whole something is, and how sure, how priced and how cached a set of requests was. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from livekit_tokens.domain import units as u
from livekit_tokens.domain.totals import Totals

_DECIMALS = Decimal("0.0001")


def share(part: int, whole: int) -> Decimal | None:
    """With four decimals; None where there is no whole."""
    return (Decimal(part) / whole).quantize(_DECIMALS, ROUND_HALF_UP) if whole else None


def share_text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


@dataclass(frozen=True, slots=True)
class Shares:
    """Of a set of requests: each from 0 to 1, None where there is nothing to be a share of."""

    cached_input: Decimal | None
    """Billed input tokens that the provider served from its cache."""
    estimated_tokens: Decimal | None
    estimated_requests: Decimal | None
    unknown_requests: Decimal | None
    unpriced_requests: Decimal | None
    failed_requests: Decimal | None

    def to_dict(self) -> dict[str, str | None]:
        return {name: share_text(getattr(self, name)) for name in self.__slots__}


def shares_of(totals: Totals) -> Shares:
    return Shares(
        cached_input=share(totals.cached_tokens, u.input_tokens(totals.units)),
        estimated_tokens=share(totals.estimated_tokens, totals.total_tokens),
        estimated_requests=share(totals.estimated_requests, totals.requests),
        unknown_requests=share(totals.unknown_requests, totals.requests),
        unpriced_requests=share(totals.unpriced_requests, totals.requests),
        failed_requests=share(totals.failed_requests, totals.requests),
    )
