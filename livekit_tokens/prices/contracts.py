"""What a user pays other than the published prices: own prices, discounts, deployments, and chosen fallbacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple, TypeVar

from livekit_tokens.domain.pricing import AGENT_MINUTES, CALLS, SIP, Card, Charge, Rates
from livekit_tokens.domain.times import Micros, is_within

_Term = TypeVar("_Term", bound="Term")
_SHOWN = 100

CardOf = Callable[[str, str, Micros], Card]
"""(provider, model, time) -> the published card; raises LookupError."""


class Asked(NamedTuple):
    """What a card is wanted for. `provider` is as a usage record names it, which may be a host; `vendor` as price
    lists do: `api.groq.com` is `groq`. An agreement may name either. `tier` served it; empty is the standard one."""

    provider: str
    vendor: str
    model: str
    at: Micros
    tier: str = ""


@dataclass(frozen=True)
class Term:
    """For whom an agreement holds, and when: patterns with `*`, in any case, and a half-open period.

    Another tier than the standard one has prices of its own: a term that does not name it says nothing of it.

    `where` is the file and the line that say so.
    """

    provider: str
    model: str
    where: str
    since: Micros | None
    until: Micros | None
    tier: str = field(default="", kw_only=True)

    def names(self, asked: Asked) -> bool:
        matches = self._provider.fullmatch
        named = (matches(asked.provider) or matches(asked.vendor)) and self._model.fullmatch(asked.model)
        return bool(named and self._tier.fullmatch(asked.tier))

    def holds(self, asked: Asked) -> bool:
        return is_within(asked.at, self.since, self.until) and self.names(asked)

    @cached_property
    def _provider(self) -> re.Pattern[str]:
        return _pattern(self.provider)

    @cached_property
    def _model(self) -> re.Pattern[str]:
        return _pattern(self.model)

    @cached_property
    def _tier(self) -> re.Pattern[str]:
        return _pattern(self.tier)


@dataclass(frozen=True)
class OwnPrice(Term):
    """`rate` nano-dollars for one of `unit`, or of `pricing.CALLS`."""

    unit: str
    rate: Fraction


@dataclass(frozen=True)
class Discount(Term):
    """So many percent off the published prices; own prices stay as they are."""

    percent: Fraction


@dataclass(frozen=True)
class Deployment(Term):
    """What model an Azure deployment is, whatever tier serves it, and how many percent it costs more than a Global
    one."""

    tier: str = field(default="*", kw_only=True)
    is_model: str
    surcharge: Fraction


@dataclass(frozen=True)
class Fallback(Term):
    """Another model's prices for what has none; what is priced so says it."""

    use_provider: str
    use: str


@dataclass(frozen=True)
class Contracts:
    """All agreements, in the order of the file: where several hold, the last one does."""

    prices: tuple[OwnPrice, ...] = ()
    discounts: tuple[Discount, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()

    def terms(self) -> list[Term]:
        """Every agreement, of whatever kind."""
        return [*self.prices, *self.discounts, *self.deployments, *self.fallbacks]

    def literal_names(self) -> list[tuple[str, str]]:
        """The (provider, model) that agreements name without a pattern; such need not be published at all."""
        return [(term.provider, term.model) for term in self.terms() if "*" not in term.provider + term.model]

    def session_charges(self, at: Micros) -> tuple[Charge, ...]:
        """What of a call's own minutes this user pays for at a time."""
        by_the_minute = [price for price in self.prices if price.unit == "session_ms"]
        charges = (AGENT_MINUTES, SIP)
        return tuple(c for c in charges if any(price.holds(Asked(c[0], c[0], c[1], at)) for price in by_the_minute))

    def card_of(self, asked: Asked, published: CardOf) -> Card:
        """The card that holds for this user; raises what `published` raises where there is none."""
        own = {price.unit: price for price in self.prices if price.holds(asked)}
        try:
            card = self._discounted(self._deployed(asked, published), asked)
        except LookupError:
            # A fallback is for what nobody has priced: not for a model that this file prices itself.
            fallback = _last(self.fallbacks, asked)
            if fallback is not None and all(unit in CALLS for unit in own):
                card = _fallen(fallback, asked, published(fallback.use_provider, fallback.use, asked.at))
            elif own:
                card = Card(asked.provider, asked.model, {}, "")
            else:
                raise
        return _with(card, own)

    def span(self, asked: Asked) -> tuple[Micros | None, Micros | None]:
        """Around a time, how long no agreement about this model begins or ends."""
        edges = [edge for term in self.terms() if term.names(asked) for edge in (term.since, term.until)]
        before = [edge for edge in edges if edge is not None and edge <= asked.at]
        after = [edge for edge in edges if edge is not None and edge > asked.at]
        return max(before, default=None), min(after, default=None)

    def _deployed(self, asked: Asked, published: CardOf) -> Card:
        if asked.tier and _last(self.discounts, asked) is None:
            provider, model, tier = (name[:_SHOWN] for name in (asked.provider, asked.model, asked.tier))
            told = f"no price of {model!r} served as {tier!r} by {provider} is known"
            raise LookupError(f"{told}; give it in PRICES_FILE, with tier = {tier!r}")
        deployment = _last(self.deployments, asked)
        if deployment is None:
            return published(asked.provider, asked.model, asked.at)
        card = published(asked.provider, deployment.is_model, asked.at)
        source = f"{card.source}; {deployment.where}"
        return replace(_times(card, 1 + deployment.surcharge / 100), model=asked.model, source=source, note=None)

    def _discounted(self, card: Card, asked: Asked) -> Card:
        discount = _last(self.discounts, asked)
        if discount is None:
            return card
        return replace(_times(card, 1 - discount.percent / 100), source=f"{card.source}; {discount.where}")


NONE = Contracts()


def _last(terms: Sequence[_Term], asked: Asked) -> _Term | None:
    return next((term for term in reversed(terms) if term.holds(asked)), None)


def _fallen(fallback: Fallback, asked: Asked, card: Card) -> Card:
    source, note = f"{card.source}; {fallback.where}", f"fallback: priced as {fallback.use}"
    return replace(card, provider=asked.provider, model=asked.model, source=source, note=note)


def _with(card: Card, own: Mapping[str, OwnPrice]) -> Card:
    """The card with a user's own prices, whatever a request's size."""
    if not own:
        return card
    rates = {unit: price.rate for unit, price in own.items()}
    told = [f"{unit}: {price.where}" for unit, price in own.items()]
    return replace(
        card,
        rates={**card.rates, **rates},
        long_context=tuple((above, {**longer, **rates}) for above, longer in card.long_context),
        source="; ".join([card.source, *told] if card.source else told),
    )


def _times(card: Card, factor: Fraction) -> Card:
    def scaled(rates: Rates) -> Rates:
        return {unit: rate * factor for unit, rate in rates.items()}

    longer = tuple((above, scaled(rates)) for above, rates in card.long_context)
    return replace(card, rates=scaled(card.rates), long_context=longer)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(piece) for piece in text.split("*")), re.IGNORECASE | re.DOTALL)
