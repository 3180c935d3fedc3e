"""Totals: what a set of usage records adds up to, and how the JSON of every roof shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from livekit_tokens.domain import units as u
from livekit_tokens.domain.money import Nanos, dollars_text
from livekit_tokens.domain.pricing import UNPRICED, Price
from livekit_tokens.domain.times import MINUTE, Micros, seconds_text
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UsageRecord


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over usage records. Costs are of the priced requests only; `unpriced_requests` stands beside them."""

    requests: int = 0
    failed_requests: int = 0
    unknown_requests: int = 0
    estimated_requests: int = 0
    unpriced_requests: int = 0
    units: Units = field(default_factory=dict)
    informational: Units = field(default_factory=dict)
    estimated_tokens: int = 0
    input_cost: Nanos = 0
    output_cost: Nanos = 0
    estimated_cost: Nanos = 0

    @property
    def input_tokens(self) -> int:
        return u.input_tokens(self.units) + u.input_tokens(self.informational)

    @property
    def output_tokens(self) -> int:
        return u.output_tokens(self.units) + u.output_tokens(self.informational)

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def cached_tokens(self) -> int:
        return u.cached_tokens(self.units)

    @property
    def cost(self) -> Nanos:
        return self.input_cost + self.output_cost

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            requests=self.requests + other.requests,
            failed_requests=self.failed_requests + other.failed_requests,
            unknown_requests=self.unknown_requests + other.unknown_requests,
            estimated_requests=self.estimated_requests + other.estimated_requests,
            unpriced_requests=self.unpriced_requests + other.unpriced_requests,
            units=added(self.units, other.units),
            informational=added(self.informational, other.informational),
            estimated_tokens=self.estimated_tokens + other.estimated_tokens,
            input_cost=self.input_cost + other.input_cost,
            output_cost=self.output_cost + other.output_cost,
            estimated_cost=self.estimated_cost + other.estimated_cost,
        )

    def to_dict(self) -> dict[str, object]:
        """The fields of `totals` in the report's JSON, without `sessions`. Every unit is named, also at 0."""
        return {
            "requests": self.requests,
            "failed_requests": self.failed_requests,
            "unknown_requests": self.unknown_requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "cached_tokens": self.cached_tokens,
            "units": {name: self.units.get(name, 0) for name in u.REGISTRY},
            "informational_units": u.in_order(self.informational),
            "audio_seconds": seconds_text(self.units.get("audio_ms", 0) * 1000),
            "characters": self.units.get("characters", 0),
            "input_cost_usd": dollars_text(self.input_cost),
            "output_cost_usd": dollars_text(self.output_cost),
            "cost_usd": dollars_text(self.cost),
            "unpriced_requests": self.unpriced_requests,
            "estimated_requests": self.estimated_requests,
            "estimated_tokens": self.estimated_tokens,
            "estimated_cost_usd": dollars_text(self.estimated_cost),
        }


def added(a: Mapping[str, int], b: Mapping[str, int]) -> Units:
    """Two sets of quantities, unit by unit."""
    both = dict(a)
    for name, quantity in b.items():
        both[name] = both.get(name, 0) + quantity
    return both


def cost_per_minute(totals: Totals, call_time: Micros) -> Nanos | None:
    """Of the priced requests, rounded half-even; None without a call, and where nothing has a price."""
    if not call_time or (totals.unpriced_requests and not totals.cost):
        return None
    return round(Fraction(totals.cost * MINUTE, call_time))


def bills(record: UsageRecord) -> bool:
    """Whether a record needs a price: it billed something, or nobody knows what. Without one it is unpriced."""
    return bool(record.units) or record.provenance == "unknown"


def totals_of(record: UsageRecord, price: Price = UNPRICED) -> Totals:
    """What one record adds to its sums."""
    estimated = record.provenance == "estimated"
    tokens = u.total(record.units, u.TOKENS) if estimated else 0
    input_cost, output_cost = price.input or 0, price.output or 0
    return Totals(
        requests=1,
        failed_requests=0 if record.success else 1,
        unknown_requests=1 if record.provenance == "unknown" else 0,
        estimated_requests=1 if estimated else 0,
        unpriced_requests=1 if price.total is None and bills(record) else 0,
        units=dict(record.units),
        informational=dict(record.informational),
        estimated_tokens=tokens + u.total(record.informational, u.TOKENS),
        input_cost=input_cost,
        output_cost=output_cost,
        estimated_cost=input_cost + output_cost if estimated else 0,
    )
