"""Repricing on each database: what changes, what is left alone, and that sums stay the sums of their records."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livekit_tokens.core import repricing
from livekit_tokens.core.repricing import Asked, Repricing
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.pricing import UNPRICED, Price, Pricing
from livekit_tokens.domain.times import QUARTER, quarter_of
from livekit_tokens.domain.totals import Totals, totals_of
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store import repricing as store_repricing
from livekit_tokens.store import schema
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.repricing import Audit, priced_ledger
from livekit_tokens.store.values import record_line_of
from tests.store.batches import KEY, OTHER_KEY, SECOND, START, batch, part, record

ALWAYS = Period(0, START + 10**15)
AUDIT = Audit("audit-1", START + 7, "ops@host")


def each(nanos: int, *models: str) -> Pricing:
    """So many nano-dollars for every unit that goes in, of these models (without any, of all)."""

    def pricing(told: UsageRecord) -> Price:
        if models and told.model not in models:
            return Price(note=f"no price of {told.model}")
        return Price(sum(told.units.values()) * nanos, 1)

    return pricing


async def filled(url: str, *told: UsageRecord, pricing: Pricing = lambda _: UNPRICED) -> StoreLedger:
    ledger = StoreLedger(url, pricing=pricing)
    connection = await ledger.connect()
    assert await connection.apply(batch(*told, parts=[part(), part(OTHER_KEY)]))
    await connection.aclose()
    return ledger


async def reprice(
    ledger: StoreLedger,
    pricing: Pricing,
    asked: Asked | Period = ALWAYS,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Repricing:
    asked = Asked(asked) if isinstance(asked, Period) else asked
    async with priced_ledger(ledger, asked, AUDIT, dry_run=dry_run) as priced:
        return await repricing.reprice(priced, asked, pricing, dry_run=dry_run, on_progress=on_progress)


async def rows(ledger: StoreLedger, table: sa.Table, *order: str) -> list[dict[str, object]]:
    async with ledger.reader() as conn:
        return [dict(row) for row in (await conn.execute(sa.select(table).order_by(*order))).mappings()]


async def costs(ledger: StoreLedger) -> list[tuple[int | None, int | None, str | None]]:
    return [
        (r["input_cost"], r["output_cost"], r["price_note"]) for r in await rows(ledger, schema.records, "part", "seq")
    ]


async def assert_sums_are_the_sums_of_their_records(ledger: StoreLedger) -> None:
    """Key by key: cost and unpriced requests, by plain addition."""
    async with ledger.reader() as conn:
        expected: dict[tuple[object, ...], Totals] = {}
        for row in (await conn.execute(sa.select(schema.records))).mappings():
            line = record_line_of(row)
            key = repricing.key_of(line.record)
            expected[key] = expected.get(key, Totals()) + totals_of(line.record, line.price)
        stored = {
            repricing.SumKey(row["part"].hex(), *(row[name] for name in repricing.SumKey._fields[1:])): row
            for row in (await conn.execute(sa.select(schema.sums))).mappings()
        }
    assert stored.keys() == expected.keys()
    for key, totals in expected.items():
        found = stored[key]
        amounts = (found["input_cost"], found["output_cost"], found["unpriced_requests"], found["requests"])
        assert amounts == (totals.input_cost, totals.output_cost, totals.unpriced_requests, totals.requests)


async def test_records_and_sums_get_the_price_that_is_known_now(database_url: str) -> None:
    """In one transaction with a row that says who changed what, and why; quantities stay."""
    ledger = await filled(database_url, record(), record(model="mini"), record(), pricing=each(2, "mini"))
    before = await rows(ledger, schema.records, "seq")

    done = await reprice(ledger, each(10), Asked(ALWAYS, reason="contract"))

    assert await costs(ledger) == [(150, 1, None)] * 3
    await assert_sums_are_the_sums_of_their_records(ledger)
    money = ("input_cost", "output_cost", "price_note")
    assert [{n: v for n, v in r.items() if n not in money} for r in await rows(ledger, schema.records, "seq")] == [
        {n: v for n, v in r.items() if n not in money} for r in before
    ]
    assert await rows(ledger, schema.repricings) == [
        {
            "id": "audit-1", "at": START + 7, "since": 0, "until": ALWAYS.until, "provider": None, "model": None,
            "made_by": "ops@host", "reason": "contract", "records": 3, "changed": 3, "cost_before": 31,
            "cost_after": 453, "unpriced_before": 2, "unpriced_after": 0,
        }
    ]  # fmt: skip
    assert [(m.model, m.records, m.newly_priced, m.cost_before, m.cost_after) for m in done.by_model] == [
        ("gpt-realtime", 2, 2, 0, 302),
        ("mini", 1, 0, 31, 151),
    ]
    await ledger.aclose()


async def test_a_dry_run_says_the_same_and_changes_nothing(database_url: str) -> None:
    """Figure by figure what the repricing itself then does."""
    ledger = await filled(database_url, record(), record(model="mini"), pricing=each(2, "mini"))
    tables = (schema.records, schema.sums, schema.repricings)
    before = [await rows(ledger, table) for table in tables]

    would = await reprice(ledger, each(10), dry_run=True)

    assert [await rows(ledger, table) for table in tables] == before
    assert {**(await reprice(ledger, each(10))).to_dict(), "dry_run": True} == would.to_dict()
    await ledger.aclose()


async def test_a_second_repricing_finds_nothing_to_change(database_url: str) -> None:
    """And writes no row about it."""
    ledger = await filled(database_url, record())
    await reprice(ledger, each(10))

    assert (await reprice(ledger, each(10))).total.changed == 0
    assert len(await rows(ledger, schema.repricings)) == 1
    await ledger.aclose()


async def test_only_what_is_asked_for_is_priced_anew(database_url: str) -> None:
    """A half-open period, to the microsecond inside a quarter of an hour; one provider, one model."""
    told = [record(at=START + n, model=model) for n, model in enumerate(("a", "a", "b", "a", "a"))]
    ledger = await filled(database_url, *told, replace(told[2], model="a", provider="azure"))
    period = Period(START + 1, START + 4)

    await reprice(ledger, each(10), Asked(period, provider="openai", model="a"))

    assert [cost is not None for cost, _, _ in await costs(ledger)] == [False, True, False, True, False, False]
    await assert_sums_are_the_sums_of_their_records(ledger)
    await ledger.aclose()


async def test_a_price_that_is_not_known_any_more_is_kept(database_url: str) -> None:
    """Models come and go, and old records keep their price; it is taken from them only if that is asked for."""
    ledger = await filled(database_url, record(), pricing=each(10))

    kept = await reprice(ledger, each(10, "other"))
    assert (kept.total.changed, kept.total.no_longer_known, await costs(ledger)) == (0, 1, [(150, 1, None)])

    lost = await reprice(ledger, each(10, "other"), Asked(ALWAYS, unprice=True))
    assert (lost.total.changed, lost.total.unpriced_after) == (1, 1)
    assert await costs(ledger) == [(None, None, "no price of gpt-realtime")]
    await assert_sums_are_the_sums_of_their_records(ledger)
    await ledger.aclose()


async def test_the_reason_why_a_record_has_no_price_is_brought_up_to_date(database_url: str) -> None:
    """Records from before there were prices have none; nothing else about them changes."""
    ledger = await filled(database_url, record())

    assert (await reprice(ledger, each(1, "other"))).total.changed == 0

    assert await costs(ledger) == [(None, None, "no price of gpt-realtime")]
    await ledger.aclose()


async def test_what_was_pruned_is_named_and_not_touched(database_url: str) -> None:
    """Sums without their records keep their cost; the others change."""
    times = [START, START + QUARTER, START + 3 * QUARTER, START + 9 * QUARTER, START + 10 * QUARTER]
    ledger = await filled(database_url, *(record(at=at) for at in times), pricing=each(2))
    async with ledger.writer() as conn:
        await conn.execute(sa.delete(schema.records).where(schema.records.c.at != START + 9 * QUARTER))

    done = await reprice(ledger, each(10))

    quarter = quarter_of(START)
    assert [(p.period, p.requests) for p in done.pruned] == [
        (Period(quarter, quarter + 4 * QUARTER), 3),
        (Period(quarter + 10 * QUARTER, quarter + 11 * QUARTER), 1),
    ]
    sums = await rows(ledger, schema.sums, "bucket")
    assert [row["input_cost"] for row in sums] == [30, 30, 30, 150, 30]
    await ledger.aclose()


async def test_a_repricing_that_is_broken_off_leaves_everything_as_it_was(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle: records, sums and audit are one transaction."""
    monkeypatch.setattr(store_repricing, "_PAGE", 2)
    ledger = await filled(database_url, *(record(at=START + n * SECOND) for n in range(9)))
    before = [await rows(ledger, table) for table in (schema.records, schema.sums)]

    def interrupted(done: int, of: int) -> None:
        assert of == 9
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await reprice(ledger, each(10), on_progress=interrupted)

    assert [await rows(ledger, table) for table in (schema.records, schema.sums)] == before
    await ledger.aclose()


async def test_what_is_drained_meanwhile_is_not_lost(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the same sums, half way through: it waits (or on SQLite comes again), and the sums have both."""
    monkeypatch.setattr(store_repricing, "_PAGE", 3)
    monkeypatch.setattr("livekit_tokens.store.engines.BUSY_SECONDS", 0.1)
    told = [record(KEY if n % 2 else OTHER_KEY, at=START + n * SECOND) for n in range(12)]
    ledger = await filled(database_url, *told, pricing=each(2))
    other = StoreLedger(database_url, pricing=each(3))
    connection = await other.connect()
    await connection.checkpoint("source-1")
    more = batch(*told, before=batch(*told).after)
    draining: asyncio.Task[bool] | None = None

    class Halfway(store_repricing.SqlPricedLedger):
        async def price(self, priced):
            nonlocal draining
            await super().price(priced)
            if draining is None:
                draining = asyncio.create_task(connection.apply(more))
                await asyncio.sleep(0.2)

    monkeypatch.setattr(store_repricing, "SqlPricedLedger", Halfway)
    await reprice(ledger, each(10))
    try:
        assert await draining
    except LedgerUnavailable:  # SQLite: the write lock was taken; a drain tries again
        connection = await other.connect()
        assert await connection.apply(more)

    stored = [cost for cost, _, _ in await costs(ledger)]
    assert len(stored) == 24
    assert stored.count(150) >= 12
    await assert_sums_are_the_sums_of_their_records(ledger)
    await connection.aclose()
    await other.aclose()
    await ledger.aclose()


usage_records = st.builds(
    record,
    key=st.sampled_from([KEY, OTHER_KEY]),
    at=st.integers(START, START + 3 * QUARTER),
    model=st.sampled_from(["a", "b", "c"]),
    agent=st.sampled_from([None, "Anna"]),
    units=st.dictionaries(st.sampled_from(["input_text", "output_audio"]), st.integers(1, 10**9)),
    provenance=st.sampled_from(["reported", "estimated", "unknown"]),
)
prices = st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**6))
spans = st.integers(1, 3 * QUARTER)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    told=st.lists(usage_records, max_size=25),
    first=prices,
    then=st.lists(
        st.tuples(prices, st.integers(0, 3 * QUARTER), st.integers(1, 3 * QUARTER), st.booleans()), max_size=3
    ),
)
def test_sums_are_the_sums_of_their_records_after_any_repricings(
    database_url: str, told: list[UsageRecord], first: dict[str, int], then: list[tuple[dict[str, int], int, int, bool]]
) -> None:
    """Whatever prices come and go, over any periods, in pages of any place."""

    def pricing_of(known: dict[str, int]) -> Pricing:
        return lambda r: Price(known[r.model] * 3, known[r.model]) if r.model in known else Price(note="?")

    async def check() -> None:
        ledger = StoreLedger(database_url)
        async with ledger.writer() as conn:
            for table in schema.metadata.tables.values():
                await conn.execute(sa.delete(table))
        await ledger.aclose()
        ledger = await filled(database_url, *told, pricing=pricing_of(first))
        store_repricing._PAGE = random.Random(len(told)).randrange(1, 9)
        for number, (known, since, length, unprice) in enumerate(then):
            asked = Asked(Period(START + since, START + since + length), unprice=unprice)
            audit = AUDIT._replace(id=str(number))
            async with priced_ledger(ledger, asked, audit, dry_run=False) as priced:
                await repricing.reprice(priced, asked, pricing_of(known), dry_run=False, on_progress=lambda *_: None)
            await assert_sums_are_the_sums_of_their_records(ledger)
        await ledger.aclose()

    page = store_repricing._PAGE
    try:
        asyncio.run(check())
    finally:
        store_repricing._PAGE = page
