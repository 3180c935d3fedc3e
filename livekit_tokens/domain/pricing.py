"""What a usage record costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from livekit_tokens.domain.money import Nanos
from livekit_tokens.domain.usage import UsageRecord


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

Pricing = Callable[[UsageRecord], Price]
"""Prices a record by its own time. Never raises; costs microseconds once a model's card is at hand."""


class Prices(Protocol):
    """What prices records, on a call's path and off it. Both answer the same for a record, and never raise."""

    def price(self, record: UsageRecord) -> Price:
        """A `Pricing`: waits for the model's card if it must, so never on a call's loop."""
        ...

    def price_if_ready(self, record: UsageRecord) -> Price | None:
        """None while the model's card is not at hand; asking for it begins to bring it. Waits for nothing."""
        ...


class NoPrices:
    """Prices of nothing: every record is unpriced."""

    def price(self, record: UsageRecord) -> Price:  # noqa: ARG002
        return UNPRICED

    def price_if_ready(self, record: UsageRecord) -> Price | None:  # noqa: ARG002
        return UNPRICED


def unpriced(_record: UsageRecord) -> Price:
    """The `Pricing` of a ledger that has no prices."""
    return UNPRICED
