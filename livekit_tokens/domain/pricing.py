"""What a usage record costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from livekit_tokens.domain.money import Nanos
from livekit_tokens.domain.usage import UsageRecord


class Price(NamedTuple):
    """What a record's input and output cost; both None where a price is not known, never 0 for that.

    `note` says why there is none (which billed unit has no price), or what is special about it (a fallback's price).
    """

    input: Nanos | None = None
    output: Nanos | None = None
    note: str | None = None


UNPRICED = Price()

Pricing = Callable[[UsageRecord], Price]
"""Prices a record by its own time. Never raises; costs microseconds once a model's card is at hand."""
