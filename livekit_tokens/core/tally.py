"""Running sums of a live part, in memory: what `Tracking.summary()` reads without any I/O."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from copy import deepcopy
from dataclasses import dataclass, field

from livekit_tokens.domain import units as u
from livekit_tokens.domain.money import Nanos
from livekit_tokens.domain.pricing import NoPrices, Price, Prices
from livekit_tokens.domain.totals import Totals, bills
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UsageRecord

Line = tuple[str, str, str]
"""Service, provider, model."""

NO_PRICES = NoPrices()

_MOST_ADDED = 256
"""Records that are not summed up yet, of one part: the background does it twice a second, and a summary when asked."""

_MOST_WAITING = 10_000
"""Records that wait for a price, of one part: cards come within seconds, and a call makes a few records a second."""


@dataclass(slots=True)
class _Sum:
    requests: int = 0
    failed: int = 0
    unknown: int = 0
    estimated: int = 0
    unpriced: int = 0
    estimated_tokens: int = 0
    units: Units = field(default_factory=dict)
    informational: Units = field(default_factory=dict)
    input_cost: Nanos = 0
    output_cost: Nanos = 0
    estimated_cost: Nanos = 0

    def totals(self) -> Totals:
        return Totals(
            requests=self.requests,
            failed_requests=self.failed,
            unknown_requests=self.unknown,
            estimated_requests=self.estimated,
            unpriced_requests=self.unpriced,
            units=dict(self.units),
            informational=dict(self.informational),
            estimated_tokens=self.estimated_tokens,
            input_cost=self.input_cost,
            output_cost=self.output_cost,
            estimated_cost=self.estimated_cost,
        )


class Tally:
    """Sums of one part by service, provider and model. `add` is on the call's path: it only keeps the record.

    Pricing and adding up (6 us a record) are for `sum_up`, which the background calls, and for whoever asks for the
    sums. A record whose price is not at hand yet counts as unpriced, and is kept aside until it is priced.
    """

    def __init__(self, prices: Prices = NO_PRICES) -> None:
        self._prices = prices
        self._sums: dict[Line, _Sum] = {}
        self._added: deque[UsageRecord] = deque()
        self._waiting: deque[UsageRecord] = deque(maxlen=_MOST_WAITING)
        # Records come from any thread, and a summary that prices what waits is asked for from any other.
        self._lock = threading.Lock()

    def add(self, record: UsageRecord) -> None:
        self._added.append(record)
        if len(self._added) >= _MOST_ADDED:
            self.sum_up()

    def sum_up(self) -> None:
        """Bring the sums up to what was added; waits for nothing."""
        with self._lock:
            while self._added:
                record = self._added.popleft()
                price = self._prices.price_if_ready(record)
                _add(self._sums, record, price)
                if price is None:
                    self._waiting.append(record)

    def lines(self, coming: Collection[UsageRecord] = ()) -> list[tuple[Line, Totals]]:
        """Each line with its totals, and what is `coming` and not added yet."""
        self.sum_up()
        if self._waiting:
            self._price_waiting(self._prices.price_if_ready)
        with self._lock:
            sums = deepcopy(self._sums) if coming else self._sums
            for record in coming:
                _add(sums, record, self._prices.price_if_ready(record))
            return [(key, found.totals()) for key, found in sums.items()]

    @property
    def waits(self) -> bool:
        """Whether any record still has no price because its card was not at hand."""
        self.sum_up()
        return bool(self._waiting)

    def price_all(self) -> None:
        """Price what still waits, and wait for the cards: not on a call's loop."""
        self.sum_up()
        self._price_waiting(self._prices.price)

    def _price_waiting(self, pricing: Callable[[UsageRecord], Price | None]) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, deque(maxlen=_MOST_WAITING)
        for record in waiting:
            price = pricing(record)
            with self._lock:
                if price is None:
                    self._waiting.append(record)
                    continue
                found = self._sums[record.service, record.provider, record.model]
                found.unpriced -= bills(record)
                _add_price(found, record, price)


def _add(sums: dict[Line, _Sum], record: UsageRecord, price: Price | None) -> None:
    found = _counted(sums, record)
    if price is None:
        found.unpriced += bills(record)
    else:
        _add_price(found, record, price)


def _counted(sums: dict[Line, _Sum], record: UsageRecord) -> _Sum:
    key = (record.service, record.provider, record.model)
    found = sums.get(key)
    if found is None:
        found = sums[key] = _Sum()
    found.requests += 1
    units = found.units
    for name, quantity in record.units.items():
        units[name] = units.get(name, 0) + quantity
    if not record.success:
        found.failed += 1
    if record.provenance != "reported":
        _add_unreported(found, record)
    if record.informational:
        for name, quantity in record.informational.items():
            found.informational[name] = found.informational.get(name, 0) + quantity
        found.estimated_tokens += u.total(record.informational, u.TOKENS)
    return found


def _add_unreported(found: _Sum, record: UsageRecord) -> None:
    if record.provenance == "unknown":
        found.unknown += 1
    else:
        found.estimated += 1
        found.estimated_tokens += u.total(record.units, u.TOKENS)


def _add_price(found: _Sum, record: UsageRecord, price: Price) -> None:
    if price.input is None or price.output is None:
        found.unpriced += bills(record)
    input_cost, output_cost = price.input or 0, price.output or 0
    found.input_cost += input_cost
    found.output_cost += output_cost
    if record.provenance == "estimated":
        found.estimated_cost += input_cost + output_cost
