"""An exact rate as people write prices: dollars by the measure that its unit is sold in."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from livekit_tokens.domain.money import NANOS_PER_DOLLAR
from livekit_tokens.domain.pricing import CALLS, Card, Rates
from livekit_tokens.domain.times import rfc3339
from livekit_tokens.domain.units import REGISTRY

_SOLD_BY = {
    "token": {"1M tokens": 10**6},
    "character": {"1M characters": 10**6},
    "call": {"1k calls": 10**3},
    "millisecond": {"minute": 60_000, "hour": 3_600_000, "second": 1_000},
}


class Amount(NamedTuple):
    """`2.5` dollars per `1M tokens`."""

    usd: str
    per: str

    def to_dict(self) -> dict[str, str]:
        return {"usd": self.usd, "per": self.per}


def amount_of(unit: str, rate: Fraction) -> Amount:
    """Exact: by the first measure in which it has a finite decimal, else as a fraction."""
    measures = _SOLD_BY["call" if unit in CALLS else REGISTRY[unit].measure]
    dollars = {per: rate * quantity / NANOS_PER_DOLLAR for per, quantity in measures.items()}
    for per, price in dollars.items():
        if (text := _decimal(price)) is not None:
            return Amount(text, per)
    per, price = next(iter(dollars.items()))
    return Amount(str(price), per)


def amounts_of(rates: Rates) -> dict[str, Amount]:
    """A card's prices, in the order in which units are registered."""
    return {unit: amount_of(unit, rates[unit]) for unit in (*REGISTRY, *CALLS) if unit in rates}


def card_dict(card: Card) -> dict[str, object]:
    """A card as JSON shows it. Prices are text; `since` is part of its time, `until` is not."""
    return {
        "provider": card.provider,
        "model": card.model,
        "prices": {unit: amount.to_dict() for unit, amount in amounts_of(card.rates).items()},
        "long_context": [
            {"above_input_tokens": above, "prices": {unit: a.to_dict() for unit, a in amounts_of(rates).items()}}
            for above, rates in card.long_context
        ],
        "billed_by_whole_seconds": card.whole_seconds,
        "least_seconds": card.least_ms // 1000,
        "since": rfc3339(card.since),
        "until": rfc3339(card.until),
        "source": card.source,
        "note": card.note,
    }


def _decimal(price: Fraction) -> str | None:
    """Its decimal digits; None where they never end."""
    rest = price.denominator
    digits = 0
    while rest % 10 == 0:
        rest, digits = rest // 10, digits + 1
    twos = (rest & -rest).bit_length() - 1
    fives = 0
    rest >>= twos
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return None
    digits += max(twos, fives)
    return f"{Decimal(price.numerator * 10**digits // price.denominator).scaleb(-digits):f}"
