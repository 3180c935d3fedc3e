"""What a usage record costs, by the price card of its model.

A card says in exact nano-dollars what one of each unit costs. A record's cost is their exact sum, rounded once,
half-even, to a whole nano-dollar; input and output add up to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import NamedTuple, Protocol

from livekit_tokens.domain import units as u
from livekit_tokens.domain.money import NANOS_PER_DOLLAR, Nanos
from livekit_tokens.domain.times import Micros, is_within
from livekit_tokens.domain.usage import UsageRecord

Rates = Mapping[str, Fraction]
"""Unit -> nano-dollars for one of it, exact."""

MOST: Nanos = 10**14
"""$100,000. No request costs so much: a mistyped price, or bytes told as tokens, has no price rather than this one. A
sum of 64 bits holds 92,000 such requests."""

STANDARD_TIERS = ("auto", "default", "standard", "on_demand")
"""How providers name the tier that their published prices are of: OpenAI's, Anthropic's, Groq's."""

CALLS = ("web_search_calls", "file_search_calls", "code_interpreter_calls", "image_generation_calls")
"""What a response may be billed for beside its tokens: calls of tools that its provider hosts. A record counts them in
its metadata, and they are priced as units are; no total has them. What they cost depends on tool, model, contract, size
of a container and of a picture: nobody publishes it by the call, so only a user's own price is known.
Source: OpenAI's price page, built-in tools, 2026-11.
"""

_OUTPUT = frozenset(u.OUTPUT)
_SECOND_MS = 1000


class Price(NamedTuple):
    """What a record's input and output cost; both None where a price is not known, never 0 for that.

    `note` says why there is none (which billed unit has no price), or what is special about it (a fallback's price).
    """

    input: Nanos | None = None
    output: Nanos | None = None
    note: str | None = None

    @property
    def total(self) -> Nanos | None:
        """Of input and output; None where it is not known."""
        return None if self.input is None or self.output is None else self.input + self.output


UNPRICED = Price()
NOTHING = Price(0, 0)
"""What a request costs that the provider bills nothing for."""

Pricing = Callable[[UsageRecord], Price]
"""Prices a record by its own time. Never raises; costs microseconds once a model's card is at hand."""


Charge = tuple[str, str]
"""What is billed by a call's minutes and is no model's: provider and name, as a usage record has them."""

AGENT_MINUTES: Charge = ("livekit", "agent-minutes")
"""Each minute of an agent in a room."""
SIP: Charge = ("livekit", "sip")
"""Each minute of a SIP participant in a room."""

SessionCharges = Callable[[Micros], Sequence[Charge]]
"""Which charges have a price at a time. Waits for nothing."""


def no_charges(_at: Micros) -> Sequence[Charge]:
    """The `SessionCharges` of who has no prices."""
    return ()


class Prices(Protocol):
    """What prices records, on a call's path and off it. Both answer the same for a record, and never raise."""

    def price(self, record: UsageRecord) -> Price:
        """A `Pricing`: waits for the model's card if it must, so never on a call's loop."""
        ...

    def price_if_ready(self, record: UsageRecord) -> Price | None:
        """None while the model's card is not at hand; the drain brings it with its next batch. Waits for nothing."""
        ...

    def session_charges(self, at: Micros) -> Sequence[Charge]:
        """`SessionCharges`."""
        ...

    def look(self) -> None:
        """Take notice of prices that have changed; off a call's loop."""
        ...


class NoPrices:
    """Prices of nothing: every record is unpriced."""

    session_charges = staticmethod(no_charges)

    def price(self, record: UsageRecord) -> Price:  # noqa: ARG002
        return UNPRICED

    def price_if_ready(self, record: UsageRecord) -> Price | None:  # noqa: ARG002
        return UNPRICED

    def look(self) -> None:
        """There are none that could change."""


def unpriced(_record: UsageRecord) -> Price:
    """The `Pricing` of a ledger that has no prices."""
    return UNPRICED


class _Scaled(NamedTuple):
    """Rates as integers over one denominator, for requests of more than `above` input tokens.

    Of each unit, what one of it costs, and whether that is output.
    """

    above: int
    denominator: int
    rates: Mapping[str, tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class Card:
    """What a provider publishes for one model, from `since` (microseconds, part of it) to `until` (no part of it).

    `model` is the name as published. `long_context` are the rates of requests with more input tokens than a
    threshold: they then hold for all tokens, as providers bill it. `whole_seconds`: audio is billed by the
    nearest whole second; `least_ms`: no audio is billed for less. `note` is told with each price.
    """

    provider: str
    model: str
    rates: Rates
    source: str
    since: Micros | None = None
    until: Micros | None = None
    long_context: tuple[tuple[int, Rates], ...] = ()
    whole_seconds: bool = False
    least_ms: int = 0
    note: str | None = None
    _scaled: tuple[_Scaled, ...] = field(init=False, repr=False, compare=False)
    _rounds: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        steps = sorted([(0, self.rates), *self.long_context], key=lambda step: step[0], reverse=True)
        object.__setattr__(self, "_scaled", tuple(_scale(above, rates) for above, rates in steps))
        object.__setattr__(self, "_rounds", self.whole_seconds or self.least_ms > 0)

    def holds_at(self, at: Micros) -> bool:
        """Whether this is the card of that time."""
        return is_within(at, self.since, self.until)

    def price(self, units: Mapping[str, int]) -> Price:
        """What some units, at least one, cost: one rounding, half-even, at the total.

        A billed unit without a price makes the record unpriced; informational units are not looked at. Seconds,
        sessions and characters are input. Reasoning without a price of its own is output text, and what was written to
        a cache is input text, as providers bill it; cached tokens without one have none, since a discount that nobody
        published is not zero and not known.
        """
        _, denominator, rates = self._scaled[0] if len(self._scaled) == 1 else self._step_for(units)
        cost_in = cost_out = 0
        try:
            for unit, quantity in (self._billed(units) if self._rounds else units).items():
                rate, is_output = rates[unit]
                if is_output:
                    cost_out += rate * quantity
                else:
                    cost_in += rate * quantity
        except KeyError:
            return Price(note=f"no price for {', '.join(name for name in units if name not in rates)}")
        if denominator > 1:  # most prices are whole nano-dollars
            total = _half_even(cost_in + cost_out, denominator)
            cost_in = _half_even(cost_in, denominator)
            cost_out = total - cost_in
        if cost_in + cost_out > MOST:
            return Price(note=f"a price beyond ${MOST // NANOS_PER_DOLLAR:,} for one request")
        return Price(cost_in, cost_out, self.note)

    def _step_for(self, units: Mapping[str, int]) -> _Scaled:
        """The rates that hold for a request of this size."""
        tokens = u.input_tokens(units)
        return next((step for step in self._scaled if tokens > step.above), self._scaled[-1])

    def _billed(self, units: Mapping[str, int]) -> Mapping[str, int]:
        """The units as they are billed: half a second of audio counts as a whole one, where only whole ones count."""
        length = units.get("audio_ms")
        if length is None:
            return units
        if self.whole_seconds:
            length = (length + _SECOND_MS // 2) // _SECOND_MS * _SECOND_MS
        return {**units, "audio_ms": max(length, self.least_ms)}


def tier_of(record: UsageRecord) -> str:
    """What served a request faster, or cheaper, than the standard tier does, as its provider calls it; else empty."""
    tier = record.metadata.get("service_tier")
    return tier.lower() if isinstance(tier, str) and tier.lower() not in STANDARD_TIERS else ""


def billed(record: UsageRecord) -> Mapping[str, int]:
    """What a card is asked to price: a record's units, and the calls of hosted tools."""
    calls = _calls(record)
    return record.units | calls if calls else record.units


def pricing_labels(record: UsageRecord) -> Mapping[str, str | int]:
    """Of a record's labels those that its price depends on: a tier's name, and counts. They name nobody."""
    tier = tier_of(record)
    return {"service_tier": tier, **_calls(record)} if tier else _calls(record)


def _calls(record: UsageRecord) -> dict[str, int]:
    counts = record.metadata
    return {name: told for name in CALLS if type(told := counts.get(name)) is int and told > 0} if counts else {}


def needs_no_card(record: UsageRecord) -> Price | None:
    """The price of a record that no card is asked for: of unknown size, or of nothing."""
    if record.provenance == "unknown":
        return Price(note="its size is not known")
    return None if billed(record) else NOTHING


_BILLED_AS = {"output_reasoning": "output_text", "cache_write_text": "input_text"}
"""What a unit is billed as where it has no price of its own."""


def _scale(above: int, rates: Rates) -> _Scaled:
    rates = {own: rates[other] for own, other in _BILLED_AS.items() if other in rates} | dict(rates)
    denominator = lcm(*(rate.denominator for rate in rates.values()))
    whole = {unit: int(rate * denominator) for unit, rate in rates.items()}
    return _Scaled(above, denominator, {unit: (rate, unit in _OUTPUT) for unit, rate in whole.items()})


def _half_even(numerator: int, denominator: int) -> int:
    whole, rest = divmod(numerator, denominator)
    return whole + (rest * 2 > denominator or (rest * 2 == denominator and whole & 1))
