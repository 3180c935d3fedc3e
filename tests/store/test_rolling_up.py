"""Rolling up a day while others write: nobody waits for it, and what it says is what the day's sums say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import sqlalchemy as sa

from livekit_tokens.core import faults
from livekit_tokens.core.ledger import Source
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.periods import DAY, HOUR
from livekit_tokens.store import engines, rolling_up
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.rolling import rolled_in, session_digest
from livekit_tokens.store.rolling_up import pieces
from livekit_tokens.store.schema import day_sums, parts, sums
from livekit_tokens.store.writing import StoreConnection
from tests.store.batches import batch, part, record
from tests.waiting import PATIENCE_SECONDS

FIRST = 1_794_960_000_000_000
"""2026-11-18 00:00 UTC."""
KEY = "0c" * 16
MINUTE = 60_000_000


class Clock:
    def __init__(self) -> None:
        self.now = FIRST + DAY + 2 * HOUR

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def a_day(url: str, clock: Clock) -> AsyncIterator[tuple[StoreLedger, StoreConnection, StoreConnection]]:
    """Over, with a call's sums in four buckets; and two processes' connections."""
    ledger = StoreLedger(url, clock=clock)
    one, other = await ledger.connect(), await ledger.connect()
    spent = [record(KEY, at=FIRST + hour * HOUR) for hour in (1, 5, 9, 13)]
    await one.apply(batch(*spent, parts=[part(KEY, "call_1", started_at=FIRST)]))
    try:
        yield ledger, one, other
    finally:
        for each in (one, other, ledger):
            await each.aclose()


@pytest.fixture
async def day(database_url: str, clock: Clock) -> AsyncIterator[tuple[StoreLedger, StoreConnection, StoreConnection]]:
    async with a_day(database_url, clock) as made:
        yield made


async def rolled(ledger: StoreLedger) -> tuple[int, bytes] | None:
    """Requests and sessions of the day, if it is rolled up."""
    async with ledger.reader() as conn:
        if await rolled_in(conn, None) != [FIRST]:
            return None
        row = (await conn.execute(sa.select(day_sums.c.requests, day_sums.c.sessions))).one()
        return row.requests, row.sessions


LATE = sa.update(sums).where(sums.c.bucket == FIRST + HOUR).values(requests=sums.c.requests + 1)
RENAMED = sa.update(parts).values(session_id="call_2")
CHANGES = pytest.mark.parametrize(
    ("change", "says"),
    [(LATE, (5, session_digest("call_1"))), (RENAMED, (4, session_digest("call_2")))],
    ids=["a late record", "another session"],
)


async def make(change: sa.Update, connection: StoreConnection) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), connection.transaction() as conn:
        await conn.execute(change)


def in_the_middle(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Awaitable[object]], piece: int = 2) -> None:
    """Before that piece of the day's four is read."""
    monkeypatch.setattr(rolling_up, "PIECE", 1)
    read, calls = rolling_up._add, []

    async def reading(*given: object) -> None:
        calls.append(given)
        if len(calls) == piece:
            await do()
        await read(*given)

    monkeypatch.setattr(rolling_up, "_add", reading)


@pytest.mark.parametrize("piece", [2, 4])
@CHANGES
async def test_what_changes_a_day_while_it_is_rolled_up_waits_for_nothing_and_is_not_missed(
    day, monkeypatch, change, says, piece
):
    """What was read before does not hold it: the day stays due, and is right the next time."""
    ledger, one, other = day
    in_the_middle(monkeypatch, lambda: make(change, other), piece)
    assert await one.roll_up(PATIENCE_SECONDS) is False
    assert await rolled(ledger) is None
    assert await one.roll_up(PATIENCE_SECONDS) is False
    assert await rolled(ledger) == says


async def test_a_day_that_is_being_rolled_up_again_is_told_by_its_sums(day, monkeypatch):
    """The old rows are still there, and a report must not find them."""
    ledger, one, other = day
    await one.roll_up(PATIENCE_SECONDS)
    await make(LATE, other)
    seen = []

    async def look() -> None:
        seen.append(await rolled(ledger))

    in_the_middle(monkeypatch, look)
    await one.roll_up(PATIENCE_SECONDS)
    assert seen == [None]
    assert await rolled(ledger) == (5, session_digest("call_1"))


async def test_a_day_that_a_killed_process_was_about_is_rolled_up_by_another_one(day, clock, monkeypatch):
    """Not at once: until it was not heard of for a minute, it is alive, and the work is its own."""
    ledger, one, other = day

    async def die() -> None:
        raise ConnectionError

    in_the_middle(monkeypatch, die)
    with pytest.raises(LedgerUnavailable):
        await one.roll_up(PATIENCE_SECONDS)
    assert await other.roll_up(PATIENCE_SECONDS) is False
    assert await rolled(ledger) is None
    clock.now += MINUTE + 1
    assert await other.roll_up(PATIENCE_SECONDS) is False
    assert await rolled(ledger) == (4, session_digest("call_1"))


@pytest.mark.parametrize("piece", [2, 4])
async def test_whose_mark_another_process_has_taken_gives_up(day, clock, monkeypatch, piece):
    """It was asleep for longer than a minute, as a suspended machine is: two sums of a day are never put together."""
    ledger, one, other = day

    async def oversleep() -> None:
        clock.now += MINUTE + 1
        await other.roll_up(PATIENCE_SECONDS)
        async with other.transaction() as conn:
            await conn.execute(sa.update(day_sums).values(requests=1_000))  # to be told from what the other one says

    in_the_middle(monkeypatch, oversleep, piece)
    assert await one.roll_up(PATIENCE_SECONDS) is False
    assert (await rolled(ledger) or (0,))[0] == 1_000


@CHANGES
async def test_a_transaction_that_was_under_way_before_is_waited_for(postgres_url, clock, change, says):
    """Its triggers ran when nothing was marked, and what it has changed cannot be seen yet. Others write meanwhile."""
    async with a_day(postgres_url, clock) as (ledger, one, other):
        async with ledger.writer() as conn:
            await conn.execute(change)
            assert await other.roll_up(0.1) is True
            assert await rolled(ledger) is None
            later = batch(record("0d" * 16, at=clock.now), source=Source("later", "h", 1, FIRST))
            assert await asyncio.wait_for(one.apply(later), PATIENCE_SECONDS)
            assert await other.roll_up(0.1) is True
        assert await other.roll_up(PATIENCE_SECONDS) is False
        assert await rolled(ledger) == says


@pytest.mark.parametrize("piece", [2, 4])
async def test_a_transaction_that_changes_the_day_and_goes_on_is_not_waited_for(
    postgres_url, clock, monkeypatch, piece
):
    """A repricing of a month, say: the process's drain would wait with its roll-up, and so would all others'."""
    monkeypatch.setattr(engines, "LOCK_SECONDS", 1.0)  # a wait would fail soon
    async with a_day(postgres_url, clock) as (ledger, one, other), AsyncExitStack() as changing:

        async def change() -> None:
            await (await changing.enter_async_context(ledger.writer())).execute(LATE)

        in_the_middle(monkeypatch, change, piece)
        assert await one.roll_up(PATIENCE_SECONDS) is False
        clock.now += MINUTE + 1
        assert await other.roll_up(PATIENCE_SECONDS) is False
        assert await rolled(ledger) is None
        await changing.aclose()
        assert await other.roll_up(PATIENCE_SECONDS) is False
        assert await rolled(ledger) == (5, session_digest("call_1"))


async def test_a_transaction_that_goes_on_and_on_is_not_waited_for_longer_than_a_drain_may_take(
    postgres_url, clock, monkeypatch
):
    """Somebody has gone home and left one open: chores behind the roll-up are done all the same, and days later."""
    monkeypatch.setattr(rolling_up, "_LONGEST_WAIT_SECONDS", 0.05)
    async with a_day(postgres_url, clock) as (ledger, one, _):
        async with ledger.writer() as conn:
            await conn.execute(LATE)
            assert await one.roll_up(PATIENCE_SECONDS) is False
            assert await rolled(ledger) is None
        clock.now += MINUTE + 1
        assert await one.roll_up(PATIENCE_SECONDS) is False
        assert await rolled(ledger) == (5, session_digest("call_1"))


@pytest.mark.parametrize(("hours", "told"), [(2, 0), (12, 1)])
async def test_who_keeps_days_from_being_rolled_up_for_hours_is_told_of(postgres_url, clock, monkeypatch, hours, told):
    """A repricing is no fault; a transaction that somebody has forgotten makes each report slower than the last."""
    monkeypatch.setattr(rolling_up, "_LONGEST_WAIT_SECONDS", 0.05)
    clock.now = FIRST + DAY + hours * HOUR
    before = sum(faults.counts().values())
    async with a_day(postgres_url, clock) as (ledger, one, _), ledger.writer() as conn:
        await conn.execute(LATE)
        assert await one.roll_up(PATIENCE_SECONDS) is False
    assert sum(faults.counts().values()) - before == told
    assert not told or "xact_start" in (faults.last() or "")


async def test_no_lock_on_a_table_keeps_a_day_from_being_rolled_up_nor_does_that_make_anybody_wait(postgres_url, clock):
    """A VACUUM of the sums may go on for hours; what waited behind it would hold up every drain."""
    async with a_day(postgres_url, clock) as (ledger, one, _), ledger.writer() as conn:
        await conn.exec_driver_sql("LOCK TABLE sums IN SHARE UPDATE EXCLUSIVE MODE")
        assert await one.roll_up(PATIENCE_SECONDS) is False
        assert await rolled(ledger) == (4, session_digest("call_1"))


def test_neighbouring_buckets_make_a_piece_as_long_as_there_is_room():
    """A bucket of more than a piece holds is one by itself."""
    assert list(pieces([(0, 3), (1, 4), (3, 4), (4, 20), (5, 1)], 8)) == [(0, 1), (3, 3), (4, 4), (5, 5)]
    assert list(pieces([], 8)) == []
