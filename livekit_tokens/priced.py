"""What a request would cost, asked without recording anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache

from livekit_tokens import runtime
from livekit_tokens.core.clock import now
from livekit_tokens.domain.given import figures_of
from livekit_tokens.domain.money import dollars
from livekit_tokens.domain.providers import provider_of
from livekit_tokens.domain.times import to_micros
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices.book import PriceBook


def cost(
    model: str,
    *,
    usage: object = None,
    units: Mapping[str, int] | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cached_tokens: int | None = None,
    audio_seconds: float | Decimal | None = None,
    characters: int | None = None,
    provider: str = "openai",
    at: datetime | None = None,
) -> Decimal | None:
    """What a request costs, in dollars to the nano-dollar, without recording it; None where that is not known: the
    price, or, where nothing is given, the size.

    Given by `usage` (any OpenAI-shaped usage object or dict), by disjoint `units`, or by counts, of which
    `input_tokens` includes `cached_tokens`. `at` (aware; now by default) says whose day's prices hold: the user's
    own of PRICES_FILE, then the published ones. The first call imports the price libraries, which may take a second.
    Raises BadSetting for two ways at once, ImpossibleUsage for impossible figures, ValueError for a naive `at`.
    """
    counts = (input_tokens, output_tokens, cached_tokens, audio_seconds, characters)
    moment = now() if at is None else to_micros(at)
    if all(given is None for given in (usage, units, *counts)):
        return None
    found = figures_of(
        model,
        usage=usage,
        units=units,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        audio_seconds=audio_seconds,
        characters=characters,
    )
    if found.informational and not found.units:
        return None
    record = UsageRecord("", moment, "tool", provider_of(provider), model, "", found.units)
    total = _asked_book().price(record).total
    return None if total is None else dollars(total)


@cache
def _asked_book() -> PriceBook:
    """The book that `cost` asks; the settings of its first use count."""
    return runtime.price_book(runtime.own_settings())


# A thread of the parent's may be reading the file just then, and nobody here would ever let go of its lock.
os.register_at_fork(after_in_child=_asked_book.cache_clear)
