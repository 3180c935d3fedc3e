"""Where our prices differ from the library's, and a user's own from the published ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from livekit_tokens.domain.pricing import Rates
from livekit_tokens.domain.times import Micros
from livekit_tokens.prices import library, overlay, published
from livekit_tokens.prices.amounts import Amount, amount_of
from livekit_tokens.prices.contracts import Asked, Contracts


@dataclass(frozen=True, slots=True)
class Difference:
    """One unit's price in two lists; None where a list has none. `why` is the reason, `source` who says it."""

    provider: str
    model: str
    unit: str
    here: Amount | None
    there: Amount | None
    why: str
    source: str

    def to_dict(self) -> dict[str, object]:
        return {
            "provider": self.provider,
            "model": self.model,
            "unit": self.unit,
            "here": None if self.here is None else self.here.to_dict(),
            "there": None if self.there is None else self.there.to_dict(),
            "why": self.why,
            "source": self.source,
        }


def from_library(at: Micros) -> Iterator[Difference]:
    """Our own entries beside what genai-prices says of the same names at a time."""
    for entry in overlay.ENTRIES:
        card = entry.card()
        if not card.holds_at(at):
            continue
        for name in entry.names:
            theirs = library.card_of("genai_prices", entry.provider, name, at)
            rates = {} if theirs is None else theirs.rates
            yield from _differences((entry.provider, name), card.rates, rates, entry.why, card.source)


def from_published(contracts: Contracts, at: Micros) -> Iterator[Difference]:
    """What a user's own prices make of every model that they name."""
    for asked in _named(contracts, at):
        try:
            rates = published.card_of(asked.provider, asked.model, at).rates
        except LookupError:
            rates = {}
        try:
            card = contracts.card_of(asked, published.card_of)
        except LookupError:
            continue
        yield from _differences(
            (asked.provider, asked.model), card.rates, rates, card.note or "PRICES_FILE", card.source
        )


def _named(contracts: Contracts, at: Micros) -> Iterator[Asked]:
    """The published models that an agreement's patterns match, and the names that it gives itself."""
    known = [(card.provider, card.model) for card in published.all_cards(at)]
    for provider, model in dict.fromkeys([*known, *contracts.literal_names()]):
        asked = Asked(provider, published.vendor_of(provider), model, at)
        if any(term.holds(asked) for term in contracts.terms()):
            yield asked


def _differences(whose: tuple[str, str], here: Rates, there: Rates, why: str, source: str) -> Iterator[Difference]:
    for unit in {**here, **there}:
        ours, theirs = here.get(unit), there.get(unit)
        if ours != theirs:
            yield Difference(*whose, unit, _amount(unit, ours), _amount(unit, theirs), why, source)


def _amount(unit: str, rate: Fraction | None) -> Amount | None:
    return None if rate is None else amount_of(unit, rate)
