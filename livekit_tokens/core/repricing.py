"""Repricing: the records of a period priced anew, by the prices as they are known now.

Quantities are never edited. The sums follow by difference, so that what other processes bring in meanwhile is not
lost, and records whose sums alone are left (pruned) are named and not touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from livekit_tokens.domain.money import Nanos, dollars_text
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.pricing import Price, Pricing
from livekit_tokens.domain.times import QUARTER, Micros, quarter_of, rfc3339
from livekit_tokens.domain.totals import Totals, totals_of
from livekit_tokens.domain.usage import UsageRecord


@dataclass(frozen=True, slots=True)
class Asked:
    """Which records are priced anew; None does not ask.

    A record that has a price which is known no longer keeps it: models come and go. With `unprice` it loses it.
    """

    period: Period
    provider: str | None = None
    model: str | None = None
    unprice: bool = False
    reason: str | None = None


class Stored(NamedTuple):
    """A record as the ledger has it."""

    seq: int
    record: UsageRecord
    price: Price


class SumKey(NamedTuple):
    """The key of a row of the sums; in this order they are changed by everybody, so that nobody waits crosswise."""

    part: str
    bucket: Micros
    service: str
    provider: str
    model: str
    operation: str
    agent: str
    feature: str
    provenance: str


@dataclass(slots=True)
class Difference:
    """What is to be added to a sum."""

    input_cost: Nanos = 0
    output_cost: Nanos = 0
    unpriced: int = 0

    def add(self, before: Totals, after: Totals) -> None:
        self.input_cost += after.input_cost - before.input_cost
        self.output_cost += after.output_cost - before.output_cost
        self.unpriced += after.unpriced_requests - before.unpriced_requests

    def __bool__(self) -> bool:
        return bool(self.input_cost or self.output_cost or self.unpriced)


class Bucket(NamedTuple):
    """One quarter of an hour: requests by the sums, and records that are there."""

    at: Micros
    summed: int
    there: int


class PricedLedger(Protocol):
    """The ledger in one transaction, as far as `asked` goes. Every method may raise LedgerUnavailable."""

    def buckets(self) -> AsyncIterator[Bucket]:
        """Every quarter of the period that has sums or records, whole, in order; each counted at one moment."""
        ...

    def pages(self) -> AsyncIterator[Sequence[Stored]]:
        """The records, in the order of their parts."""
        ...

    async def price(self, priced: Sequence[Stored]) -> None:
        """Give these records these prices."""
        ...

    async def adjust(self, differences: Mapping[SumKey, Difference]) -> None:
        """Add to the sums; the keys are in order."""
        ...

    async def write_down(self, repricing: Repricing) -> None:
        """The audit row."""
        ...


@dataclass(slots=True)
class ModelChange:
    """What changes for one model. Costs are of the priced records; `no_longer_known` are those whose price is not."""

    provider: str
    model: str
    records: int = 0
    changed: int = 0
    newly_priced: int = 0
    no_longer_known: int = 0
    cost_before: Nanos = 0
    cost_after: Nanos = 0
    unpriced_before: int = 0
    unpriced_after: int = 0

    def add(self, before: Totals, after: Totals, *, known: bool) -> None:
        self.records += 1
        self.changed += _amounts(before) != _amounts(after)
        self.newly_priced += before.unpriced_requests > after.unpriced_requests
        self.no_longer_known += not known
        self.cost_before += before.cost
        self.cost_after += after.cost
        self.unpriced_before += before.unpriced_requests
        self.unpriced_after += after.unpriced_requests

    def to_dict(self) -> dict[str, object]:
        return {
            "provider": self.provider,
            "model": self.model,
            "records": self.records,
            "changed": self.changed,
            "newly_priced": self.newly_priced,
            "no_longer_known": self.no_longer_known,
            "cost_before_usd": dollars_text(self.cost_before),
            "cost_after_usd": dollars_text(self.cost_after),
            "unpriced_before": self.unpriced_before,
            "unpriced_after": self.unpriced_after,
        }


class Pruned(NamedTuple):
    """A time of which only sums are left: so many requests keep the cost that they had."""

    period: Period
    requests: int

    def to_dict(self) -> dict[str, object]:
        return {
            "since": rfc3339(self.period.since),
            "until": rfc3339(self.period.until),
            "requests": self.requests,
        }


@dataclass(slots=True)
class Repricing:
    """What a repricing changes, or would."""

    asked: Asked
    dry_run: bool
    models: dict[tuple[str, str], ModelChange] = field(default_factory=dict)
    pruned: list[Pruned] = field(default_factory=list)

    def of(self, record: UsageRecord) -> ModelChange:
        key = record.provider, record.model
        return self.models.setdefault(key, ModelChange(*key))

    @property
    def by_model(self) -> list[ModelChange]:
        return [self.models[key] for key in sorted(self.models)]

    @property
    def total(self) -> ModelChange:
        """Over all models."""
        whole = ModelChange("", "")
        for name in _COUNTED:
            setattr(whole, name, sum(getattr(model, name) for model in self.models.values()))
        return whole

    def to_dict(self) -> dict[str, object]:
        whole = self.total.to_dict()
        return {
            "since": rfc3339(self.asked.period.since),
            "until": rfc3339(self.asked.period.until),
            "dry_run": self.dry_run,
            "totals": {name: value for name, value in whole.items() if name not in ("provider", "model")},
            "models": [model.to_dict() for model in self.by_model],
            "pruned": [span.to_dict() for span in self.pruned],
        }


_COUNTED = tuple(name for name in ModelChange.__slots__ if name not in ("provider", "model"))

OnProgress = Callable[[int, int], None]
"""Is told how many records are done, and of how many."""


async def reprice(
    ledger: PricedLedger, asked: Asked, pricing: Pricing, *, dry_run: bool, on_progress: OnProgress
) -> Repricing:
    """Price anew what `asked` names; on a dry run, say what would change and change nothing."""
    buckets = [bucket async for bucket in ledger.buckets()]
    found = Repricing(asked, dry_run, pruned=list(pruned(buckets)))
    expected, done = sum(bucket.there for bucket in buckets), 0
    waiting: dict[SumKey, Difference] = {}
    async for page in ledger.pages():
        changes = [change for stored in page if (change := _change(stored, asked, pricing, found, waiting)) is not None]
        # Not yet the last part's: its next page may have more for the same sums, and they are in order.
        complete = _taken(waiting, but=page[-1].record.part)
        if not dry_run:
            await ledger.price(changes)
            await ledger.adjust(complete)
        done += len(page)
        on_progress(done, max(expected, done))
    if not dry_run and found.total.changed:
        await ledger.adjust(_taken(waiting))
        await ledger.write_down(found)
    return found


def pruned(buckets: Iterable[Bucket]) -> Iterator[Pruned]:
    """The times of which records are missing: neighbours are one, if nothing complete lies between them."""
    since: Micros | None = None
    until, requests = 0, 0
    for bucket in buckets:
        if (missing := bucket.summed - bucket.there) > 0:
            since = bucket.at if since is None else since
            until, requests = bucket.at + QUARTER, requests + missing
        elif since is not None:
            yield Pruned(Period(since, until), requests)
            since, requests = None, 0
    if since is not None:
        yield Pruned(Period(since, until), requests)


def key_of(record: UsageRecord) -> SumKey:
    """The sum that a record is in."""
    r = record
    labels = (r.service, r.provider, r.model, r.operation, r.agent or "", r.feature, r.provenance)
    return SumKey(r.part, quarter_of(r.at), *labels)


def _change(
    stored: Stored, asked: Asked, pricing: Pricing, found: Repricing, waiting: dict[SumKey, Difference]
) -> Stored | None:
    """The record with its new price, if that is another one; what follows from it is added up."""
    record, new = stored.record, pricing(stored.record)
    known = new.total is not None or stored.price.total is None
    if not known and not asked.unprice:
        new = stored.price
    before, after = totals_of(record, stored.price), totals_of(record, new)
    found.of(record).add(before, after, known=known)
    if new == stored.price:
        return None
    if _amounts(before) != _amounts(after):
        waiting.setdefault(key_of(record), Difference()).add(before, after)
    return stored._replace(price=new)


def _taken(waiting: dict[SumKey, Difference], but: str | None = None) -> dict[SumKey, Difference]:
    """What can be written, in order, out of what waits."""
    taken = {key: waiting.pop(key) for key in sorted(waiting) if key.part != but}
    return {key: difference for key, difference in taken.items() if difference}


def _amounts(totals: Totals) -> tuple[Nanos, Nanos, int]:
    return totals.input_cost, totals.output_cost, totals.unpriced_requests
