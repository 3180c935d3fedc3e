"""The registry of units: what a quantity can count.

Units are disjoint: a token stands in exactly one of them. `input_text` are the text tokens that were
*not* served from the provider's cache, `cached_input_text` those that were, `cache_write_text` those that were
written to it at a price of their own (OpenAI's gpt-5.6 and later); `output_text` excludes `output_reasoning`. Totals
are derived, never stored beside their parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from livekit_tokens.domain.errors import ImpossibleUsage

Units = dict[str, int]
"""Unit name -> quantity. Holds only units of the registry, only quantities above zero."""

LARGEST = 10**9
"""No single request has more of any unit: in milliseconds eleven days, in tokens hundreds of times what a model reads.
A sum of 64 bits holds nine billion such requests."""

MOST_SECONDS = LARGEST // 1000
"""The same of what is told in seconds."""

MOST_HELD = 10**14
"""What our own export may tell of a request: records of older versions have up to 10**12, and a call's length is no
provider's figure, so that it is bounded by its times alone (milliseconds from 1970 to 2999)."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing that a provider counts.

    `side` says which total a token belongs to; units that are not tokens have none.
    """

    name: str
    measure: Literal["token", "millisecond", "character"]
    side: Literal["input", "output"] | None = None
    cached: bool = False


REGISTRY: Mapping[str, Unit] = {
    unit.name: unit
    for unit in (
        Unit("input_text", "token", "input"),
        Unit("input_audio", "token", "input"),
        Unit("input_image", "token", "input"),
        Unit("cached_input_text", "token", "input", cached=True),
        Unit("cached_input_audio", "token", "input", cached=True),
        Unit("cached_input_image", "token", "input", cached=True),
        Unit("cache_write_text", "token", "input"),
        Unit("output_text", "token", "output"),
        Unit("output_audio", "token", "output"),
        Unit("output_reasoning", "token", "output"),
        Unit("audio_ms", "millisecond"),
        Unit("session_ms", "millisecond"),
        Unit("characters", "character"),
    )
}
INPUT = tuple(u.name for u in REGISTRY.values() if u.side == "input")
OUTPUT = tuple(u.name for u in REGISTRY.values() if u.side == "output")
CACHED = tuple(u.name for u in REGISTRY.values() if u.cached)
TOKENS = INPUT + OUTPUT


def make_units(quantities: Mapping[str, object], largest: int = LARGEST) -> Units:
    """Check quantities from outside and keep those above zero.

    Raises ImpossibleUsage for a unit that the registry does not know and for a quantity that is not a
    whole number from 0 to the largest.
    """
    units: Units = {}
    for name, quantity in quantities.items():
        if name not in REGISTRY:
            raise ImpossibleUsage(f"unknown unit {name!r}; known units: {', '.join(REGISTRY)}")
        if checked := quantity_of(name, quantity, largest):
            units[name] = checked
    return units


def quantity_of(name: str, value: object, largest: int = LARGEST) -> int:
    """Read one count from outside: None is 0, a whole float is accepted, anything else raises ImpossibleUsage, as does
    more than the largest."""
    if value is None:
        return 0
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or value < 0 or value > largest:
        raise ImpossibleUsage(f"{name} is {_shown(value)}; expected a whole number from 0 to {largest}")
    return value


def _shown(value: object) -> str:
    # A huge integer or string must not become a huge log line, nor carry what was said.
    if isinstance(value, (int, float)):
        text = f"{value:.6g}" if isinstance(value, float) or abs(value) < 10**300 else "an integer beyond 10**300"
        return str(value) if isinstance(value, int) and abs(value) <= 10**18 else text
    return f"a {type(value).__name__}"


def nonzero(units: Mapping[str, int]) -> Units:
    """Those that there are any of: a record holds no zeros."""
    return {name: quantity for name, quantity in units.items() if quantity}


def in_order(units: Mapping[str, int]) -> Units:
    """In the registry's order, whatever a database did to it."""
    return {name: units[name] for name in REGISTRY if name in units}


def total(units: Mapping[str, int], names: Iterable[str]) -> int:
    """Sum of the named units."""
    get = units.get
    return sum(get(name, 0) for name in names)


def input_tokens(units: Mapping[str, int]) -> int:
    """Tokens sent to the model, cached ones included."""
    return total(units, INPUT)


def output_tokens(units: Mapping[str, int]) -> int:
    """Tokens the model produced, reasoning included."""
    return total(units, OUTPUT)


def cached_tokens(units: Mapping[str, int]) -> int:
    """Input tokens that the provider served from its cache."""
    return total(units, CACHED)
