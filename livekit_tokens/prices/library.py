"""Price cards out of genai-prices, and out of voice-prices where the extra `voices` is installed.

The libraries are asked for what they publish, not to calculate: they price a unit without a price as 0, and what a
name merely begins with or contains as the whole model. Importing them takes 0.1 to 0.8 s: never on a call's loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Literal, NamedTuple

from livekit_tokens.domain.money import NANOS_PER_DOLLAR
from livekit_tokens.domain.pricing import Card, Rates
from livekit_tokens.domain.times import Micros, to_datetime, to_micros

Library = Literal["genai_prices", "voice_prices"]
LIBRARIES: tuple[Library, ...] = ("genai_prices", "voice_prices")


class Meter(NamedTuple):
    """What a price of the library's counts: our unit, and how many of it the price is for."""

    unit: str
    per: int


METERS: Mapping[str, Meter] = {
    "input_mtok": Meter("input_text", 10**6),
    "cache_read_mtok": Meter("cached_input_text", 10**6),
    "cache_write_mtok": Meter("cache_write_text", 10**6),
    "output_mtok": Meter("output_text", 10**6),
    "input_text_mtok": Meter("input_text", 10**6),
    "cache_text_read_mtok": Meter("cached_input_text", 10**6),
    "output_text_mtok": Meter("output_text", 10**6),
    "input_audio_mtok": Meter("input_audio", 10**6),
    "cache_audio_read_mtok": Meter("cached_input_audio", 10**6),
    "output_audio_mtok": Meter("output_audio", 10**6),
    "input_image_mtok": Meter("input_image", 10**6),
    "cache_image_read_mtok": Meter("cached_input_image", 10**6),
    "output_reasoning_mtok": Meter("output_reasoning", 10**6),
    "audio_hours": Meter("audio_ms", 3_600_000),
    "input_audio_hours": Meter("audio_ms", 3_600_000),
    "input_audio_kseconds": Meter("audio_ms", 1_000_000),
    "input_mchars": Meter("characters", 10**6),
    "input_kchars": Meter("characters", 10**3),
    "agent_kminutes": Meter("session_ms", 60_000_000),
    "telephony_kminutes": Meter("session_ms", 60_000_000),
}
"""The more exact name of a unit comes later, and counts.
Source: genai-prices 0.2.3 `data_units.py`, voice-prices 0.11.0 `types.py`."""

_AS_TEXT = {"input_image": "input_text", "cached_input_image": "cached_input_text"}
"""Google's images cost what its text does; other providers' have a price of their own, or none.
Source: ai.google.dev, Gemini prices ("text / image / video")."""

_FEES = ("requests_kcount", "input_text_messages_kcount")
"""What is billed by the request or by the message has no unit here: without it a sum would be too low."""
_GROQ_LEAST_MS = 10_000
"""Groq bills ten seconds of audio at least. Source: genai-prices 0.2.3 `types.py`, console.groq.com/docs."""

_DATED = re.compile(r"([-@](20\d{2}-?\d{2}-?\d{2}|\d{2}-\d{2}|\d{2}-20\d{2}|\d{3}|latest)|-v\d+(:\d+)?)*")
_PREFIXED = re.compile(r"([a-z-]+/|models/|[a-z]{2,4}\.|[a-z0-9]+\.)*")

_VOICE = re.compile(r"-?[a-z]+-[a-z]{2}|(?<=\.)[a-z]+")
"""What follows a speech model's name where its voices have names of their own: `aura-2-andromeda-en`,
`telnyx.naturalhd.astra`. Source: developers.deepgram.com and developers.telnyx.com, voices."""
_BY_CHARACTERS = {"input_mchars", "input_kchars"}


def is_loaded() -> bool:
    """Whether asking costs no import."""
    return providers.cache_info().currsize == len(LIBRARIES)


def load() -> None:
    """Import what there is: 0.2 to 0.9 s."""
    for library in LIBRARIES:
        providers(library)


@cache
def providers(library: Library) -> Mapping[str, Any]:
    """The library's providers by their ids; none where it is not installed."""
    try:
        found = import_module(f"{library}.data").providers
    except ModuleNotFoundError as error:
        # genai-prices is a dependency; that it is missing, or anything beneath it, is a broken installation.
        if library == "voice_prices" and error.name == library:
            return {}
        raise
    return {provider.id: provider for provider in found}


@lru_cache(256)
def provider_at(library: Library, host: str) -> str | None:
    """The id of the provider whose API is at this host."""
    url = f"https://{host}"
    for name, provider in providers(library).items():
        # Some patterns allow for anything before the dot; a whole label must match.
        if re.match(provider.api_pattern, url) or re.match(provider.api_pattern, url + "/"):
            return name
    return None


def card_of(library: Library, provider_id: str, model: str, at: Micros) -> Card | None:
    """The card that the library publishes for exactly this model at a time; None where it has none."""
    found = _found(library, provider_id, model)
    return None if found is None else _card(library, *found, at)


@lru_cache(2048)
def _found(library: Library, provider_id: str, model: str) -> tuple[Any, Any] | None:
    """The provider, and its model of this name or one that it sells of another provider's."""
    known = providers(library)
    if (provider := known.get(provider_id)) is None:
        return None
    for owner in (provider, *(known[name] for name in provider.fallback_model_providers or () if name in known)):
        for ref in _spellings(model):
            for info in owner.models:
                if is_named(info, ref):
                    return provider, info
    return None


def cards(library: Library, at: Micros) -> Iterator[Card]:
    """All cards of a time."""
    for provider in providers(library).values():
        for info in provider.models:
            if (card := _card(library, provider, info, at)) is not None:
                yield card


def is_named(info: Any, ref: str) -> bool:
    """Whether `ref` names this model itself, perhaps with a date: not a model that merely begins like it."""
    if not info.is_match(ref):
        return False
    if ref.startswith("ft:"):
        return bool(info.id.startswith("ft:"))
    if ref == info.id or any(_is_exact(clause, ref, info.id) for clause in _leaves(info.match)):
        return True
    return _is_speech(info) and any(_is_voice_of(clause, ref) for clause in _leaves(info.match))


def _is_speech(info: Any) -> bool:
    """Whether it is sold by the characters that are to be said."""
    prices = info.prices if isinstance(info.prices, list) else [info]
    published = (name for each in prices for name, value in vars(each.prices).items() if value is not None)
    return set(published) <= _BY_CHARACTERS


def _is_voice_of(clause: Any, ref: str) -> bool:
    begins = getattr(clause, "regex", None) or re.escape((getattr(clause, "starts_with", None) or "").lower()) or "$"
    found = re.match(begins, ref)
    return found is not None and _VOICE.fullmatch(ref, found.end()) is not None


def _is_exact(clause: Any, ref: str, name: str) -> bool:
    if (pattern := getattr(clause, "regex", None)) is not None:
        return re.fullmatch(pattern, ref) is not None
    texts = (getattr(clause, kind, None) for kind in ("equals", "starts_with", "contains", "ends_with"))
    for text in (*(text.lower() for text in texts if text), name.lower()):
        before, found, after = ref.partition(text)
        if found and _PREFIXED.fullmatch(before) and _DATED.fullmatch(after):
            return True
    return False


def _leaves(clause: Any) -> Iterator[Any]:
    inner = getattr(clause, "or_", None) or getattr(clause, "and_", None)
    if inner is None:
        yield clause
    for part in inner or ():
        yield from _leaves(part)


def _spellings(model: str) -> Iterable[str]:
    """As given, and with a compact date (`-20251211`, as gateways write it) in dashes."""
    ref = model.lower()
    dashed = re.sub(r"-(20\d{2})(\d{2})(\d{2})(?=-|:|$)", r"-\1-\2-\3", ref)
    return (ref,) if dashed == ref else (ref, dashed)


def _card(library: Library, provider: Any, info: Any, at: Micros) -> Card | None:
    prices = info.get_prices(to_datetime(at))
    published = {key: value for key, value in vars(prices).items() if value is not None}
    if any(published.get(fee) for fee in _FEES):
        return None
    starts = sorted({tier.start for value in published.values() for tier in getattr(value, "tiers", ())})
    as_text = _AS_TEXT if provider.id == "google" else {}
    rates = _rates(published, 0, as_text)
    if not rates:
        return None
    since, until = _interval(info.prices, at)
    whisper = provider.id == "groq" and "audio_ms" in rates
    return Card(
        provider.id,
        info.id,
        rates,
        _source(library, provider, info),
        since,
        until,
        long_context=tuple((start, _rates(published, start + 1, as_text)) for start in starts),
        least_ms=_GROQ_LEAST_MS if whisper else 0,
    )


def _rates(published: Mapping[str, Any], tokens: int, as_text: Mapping[str, str]) -> Rates:
    """What each unit costs in a request of so many input tokens."""
    rates: dict[str, Fraction] = {}
    for key, meter in METERS.items():
        if (value := published.get(key)) is not None:
            price = _of_tier(value, tokens)
            dollars = _as_published(price) if key == "input_audio_kseconds" else Fraction(price)
            rates[meter.unit] = dollars * NANOS_PER_DOLLAR / meter.per
    for unit, other in as_text.items():
        if unit not in rates and other in rates:
            rates[unit] = rates[other]
    return rates


def _of_tier(value: Any, tokens: int) -> Decimal:
    price: Decimal = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        if tokens > tier.start:
            price = tier.price
    return price


def _as_published(price: Decimal) -> Fraction:
    """Dollars per 1,000 s as the vendor's own rate, of which they are rounded: $0.0065 a minute is kept as 0.108333.

    A price by the minute has at most four decimals, by the hour at most two; if neither rounds to what is kept,
    it is taken as it stands.
    """
    kept = Fraction(price)
    last_digit = Fraction(Decimal(1).scaleb(int(price.as_tuple().exponent)))
    for seconds, decimals in ((60, 4), (3600, 2)):
        vendors = round(kept * seconds / 1000, decimals) * 1000 / seconds
        if abs(vendors - kept) < last_digit:
            return vendors
    return kept


def _source(library: Library, provider: Any, info: Any) -> str:
    name = "genai-prices" if library == "genai_prices" else "voice-prices"
    page = getattr(info, "pricing_source_url", None) or next(iter(provider.pricing_urls or ()), None)
    checked = getattr(getattr(info, "provenance", None), "last_verified", None)
    told = f"{name}: {page}" if page else name
    return f"{told} ({checked})" if checked else told


def _interval(prices: Any, at: Micros) -> tuple[Micros | None, Micros | None]:
    """How long around a time the prices stay what they are."""
    if not isinstance(prices, list):
        return None, None
    edges = sorted({edge for price in prices for edge in _edges(price.constraint, at)})
    return max((e for e in edges if e <= at), default=None), min((e for e in edges if e > at), default=None)


def _edges(constraint: Any, at: Micros) -> Iterator[Micros]:
    if (day := getattr(constraint, "start_date", None)) is not None:
        yield to_micros(datetime.combine(day, time(), UTC))
    if (moment := getattr(constraint, "start_timestamp", None)) is not None:
        yield to_micros(moment)
    if (begin := getattr(constraint, "start_time", None)) is not None:
        today = to_datetime(at).date()
        for days in (-1, 0, 1, 2):
            for clock in (begin, constraint.end_time):
                yield to_micros(datetime.combine(today + timedelta(days), clock, clock.tzinfo or UTC))
