"""The price book: prices records, by the user's own prices and the published ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import NamedTuple

from livekit_tokens.core import faults
from livekit_tokens.domain.pricing import Card, Charge, Price, billed, needs_no_card, tier_of
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices import library, published
from livekit_tokens.prices.contracts import NONE, Asked, Contracts
from livekit_tokens.prices.prices_file import PricesFile

_FAULT = "a price could not be looked up; the record is unpriced"

_MOST_QUOTES = 8
"""So many periods of one model are kept at most; a price that changes with the hour has several a day."""
MOST_MODELS = 4096
"""So many models' cards are kept at most: a caller who makes names up must not fill the memory."""


class _Quote(NamedTuple):
    """The card of one provider, model and tier, or why there is none, and the time for which that holds."""

    since: float
    until: float
    card: Card | None
    why: str = ""


class _Shelf:
    """The quotes under one state of the user's prices; a new state gets a new shelf, so none outlives its reason."""

    def __init__(self, contracts: Contracts) -> None:
        self.contracts = contracts
        self._quotes: dict[tuple[str, str, str], tuple[_Quote, ...]] = {}

    def quote_at_hand(self, provider: str, model: str, at: Micros, tier: str) -> _Quote | None:
        for quote in self._quotes.get((provider, model, tier), ()):
            if quote.since <= at < quote.until:
                return quote
        return None

    def quote(self, provider: str, model: str, at: Micros, tier: str = "") -> _Quote:
        found = self.quote_at_hand(provider, model, at, tier)
        if found is None:
            found = self._look_up(provider, model, at, tier)
            if len(self._quotes) >= MOST_MODELS:
                self._quotes.clear()
            # A tuple is never changed: the call's thread reads while the drain's thread writes.
            others = self._quotes.get((provider, model, tier), ())
            self._quotes[provider, model, tier] = (found, *others[: _MOST_QUOTES - 1])
        return found

    def _look_up(self, provider: str, model: str, at: Micros, tier: str) -> _Quote:
        vendor = published.vendor_of(provider)
        asked = Asked(provider, vendor, model, at, "" if (vendor, tier) in published.AS_STANDARD else tier)
        since, until = self.contracts.span(asked)
        try:
            card = self.contracts.card_of(asked, published.card_of)
        except LookupError as why:
            return _Quote(_begin(since), _end(until), None, str(why))
        return _Quote(max(_begin(since), _begin(card.since)), min(_end(until), _end(card.until)), card)


class PriceBook:
    """Prices records, each by its own time.

    A card is looked up once a model; from then on a price costs microseconds. The first look-up imports the price
    library and may take a second, so the call's loop asks `price_if_ready`, and the drain's thread `price`.
    The user's prices are those of a file, which is followed, or `contracts`, which stand.
    """

    def __init__(self, prices_file: Path | None = None, contracts: Contracts = NONE) -> None:
        self._file = PricesFile(prices_file) if prices_file is not None else None
        self._shelf: _Shelf | None = None if prices_file is not None else _Shelf(contracts)
        self._looking = threading.Lock()  # the drain, the ends of calls and `cost` ask first at any time

    def price(self, record: UsageRecord) -> Price:
        """What a record costs. Never raises: a fault of ours is noted, and the record unpriced."""
        try:
            if (settled := needs_no_card(record)) is not None:
                return settled
            quote = self._current().quote(record.provider, record.model, record.at, tier_of(record))
            return _priced(record, quote)
        except Exception as error:  # noqa: BLE001 - a record without a price is better than none
            faults.note(_FAULT, error)
            return Price(note="its price could not be looked up")

    def price_if_ready(self, record: UsageRecord) -> Price | None:
        """The price if it can be told at once, without reading a file or importing a library; else None.

        None is not for ever: the drain prices the same record in its thread, and has the card from then on.
        """
        if (settled := needs_no_card(record)) is not None:
            return settled
        shelf = self._shelf
        if shelf is None:
            return None
        tier = tier_of(record)
        quote = shelf.quote_at_hand(record.provider, record.model, record.at, tier)
        if quote is None:
            if not library.is_loaded():
                return None
            try:
                quote = shelf.quote(record.provider, record.model, record.at, tier)
            except Exception as error:  # noqa: BLE001 - as above
                faults.note(_FAULT, error)
                return None
        return _priced(record, quote)

    def session_charges(self, at: Micros) -> tuple[Charge, ...]:
        """Which of a call's own minutes have a price: only the user's file says so, as it was last looked at."""
        shelf = self._shelf
        return () if shelf is None else shelf.contracts.session_charges(at)

    def look(self) -> None:
        """Read the user's file if it is new; off the call's loop."""
        self._current()

    def card(self, provider: str, model: str, at: Micros) -> Card:
        """The card that holds for a provider, a model and a time; raises LookupError that says why there is none."""
        quote = self._current().quote(provider, model, at)
        if quote.card is None:
            raise published.Unpublished(quote.why)
        return quote.card

    def cards(self, at: Micros) -> Iterator[Card]:
        """Every card of a time: the published ones as they hold for this user, and the user's own."""
        contracts = self._current().contracts
        seen = set()
        for card in published.all_cards(at):
            seen.add((card.provider, card.model))
            asked = Asked(card.provider, card.provider, card.model, at)
            yield contracts.card_of(asked, lambda *_, card=card: card)
        for provider, model in contracts.literal_names():
            if (provider, model) not in seen:
                seen.add((provider, model))
                with suppress(LookupError):
                    asked = Asked(provider, published.vendor_of(provider), model, at)
                    yield contracts.card_of(asked, published.card_of)

    def _current(self) -> _Shelf:
        """The quotes under the user's prices as they are now; the file is looked at every few seconds at most."""
        if self._file is not None:
            with self._looking:
                if (read := self._file.read_if_changed()) is not None:
                    self._shelf = _Shelf(read)
        assert self._shelf is not None
        return self._shelf


def _priced(record: UsageRecord, quote: _Quote) -> Price:
    return Price(note=quote.why) if quote.card is None else quote.card.price(billed(record))


def _begin(since: Micros | None) -> float:
    return -inf if since is None else since


def _end(until: Micros | None) -> float:
    return inf if until is None else until
