"""Old records go, sums stay, and every report stays right; a drain is never held up for long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from livekit_tokens.core import clock
from livekit_tokens.core.ledger import Checkpoint, Source
from livekit_tokens.core.lines import Late
from livekit_tokens.core.reports import open_reports
from livekit_tokens.domain.errors import UnknownName
from livekit_tokens.domain.periods import DAY, Period, as_kept
from livekit_tokens.domain.sessions import Stay
from livekit_tokens.domain.times import MINUTE, QUARTER, to_datetime
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping import removal
from livekit_tokens.store.keeping.checking import check
from livekit_tokens.store.keeping.erasing import erase
from livekit_tokens.store.keeping.pruning import prune, would_prune
from livekit_tokens.store.keeping.removal import Pruning, older_than
from livekit_tokens.store.queries import StoredUsage
from livekit_tokens.store.schema import late_figures, parts, prunings, records, stays, sums
from tests.store.batches import KEY, OTHER_KEY, START, batch, part, record

BEGIN = START - START % QUARTER
EACH = 7 * MINUTE
COUNT = 60
MIDDLE = BEGIN + COUNT // 2 * EACH - COUNT // 2 * EACH % QUARTER
NOW = BEGIN + COUNT * EACH


def told(_count: int) -> None: ...


@pytest.fixture
async def filled(ledger, connection) -> StoreLedger:
    """A request every seven minutes, of two tenants by turns."""
    both = [part(tenant="acme", status="closed", ended_at=NOW), part(OTHER_KEY, "room_b", tenant="beta")]
    keys = [KEY, OTHER_KEY]
    made = [record(keys[n % 2], at=BEGIN + n * EACH, units={"input_text": 2**n}) for n in range(COUNT)]
    stay = Stay(KEY, "PA_1", "ann", "Ann", BEGIN)
    assert await connection.apply(batch(*made, parts=both, stays=[stay]))
    return ledger


async def tokens(ledger: StoreLedger, since: int, until: int, **filters: str) -> int:
    reports = open_reports(StoredUsage(ledger), now=lambda: NOW)
    answer = await reports.report(to_datetime(since), to_datetime(until), by=["model"], **filters)
    return answer.totals.units.get("input_text", 0)


async def rows(ledger: StoreLedger, table: sa.Table) -> int:
    async with ledger.reader() as conn:
        return (await conn.execute(sa.select(sa.func.count()).select_from(table))).scalar_one()


async def test_late_figures_go_with_the_records_that_they_are_of(ledger, connection):
    """There is nothing left to compare them with; a tenant's pruning cannot tell whose they are, and leaves them."""
    late = tuple(Late(of=seq, at=BEGIN + seq * DAY, units={"input_text": 1}) for seq in (1, 2, 3))
    made = [record(at=BEGIN + seq * DAY - 1, provenance="estimated") for seq in (1, 2, 3)]
    assert await connection.apply(replace(batch(*made, parts=[part(tenant="acme")]), late=late))

    await prune(ledger, Pruning(BEGIN + 2 * DAY, "acme"), clock.now, told)
    assert await rows(ledger, late_figures) == 3
    await prune(ledger, Pruning(BEGIN + 3 * DAY), clock.now, told)
    async with ledger.reader() as conn:
        assert (await conn.execute(sa.select(late_figures.c.seq))).scalars().all() == [3]


async def test_an_idempotency_key_outlives_its_record(ledger, connection):
    """Who repeats it after the record was pruned is counted no second time: it stays as long as the sum does."""
    keyed = record(at=BEGIN, idempotency_key="order-7")
    first = batch(keyed, parts=[part()])
    assert await connection.apply(first)
    await prune(ledger, Pruning(BEGIN + DAY), clock.now, told)

    assert await connection.apply(batch(replace(keyed, at=BEGIN + 2 * DAY), before=first.after))
    assert await rows(ledger, records) == 0
    async with ledger.reader() as conn:
        assert (await conn.execute(sa.select(sums.c.requests))).scalars().all() == [1]


def edges() -> Iterator[tuple[int, int]]:
    """Periods whose ends are anywhere: in pruned time, in kept time, on a bucket's edge and off it."""
    ends = [BEGIN, BEGIN + EACH, BEGIN + 33 * MINUTE, MIDDLE - 1, MIDDLE, MIDDLE + 8 * MINUTE, NOW - 1, NOW]
    return ((since, until) for since in ends for until in ends if since < until)


async def test_reports_stay_right_when_records_are_gone(filled):
    """A period's edge in pruned time is that of whole buckets, each in the period that it begins in; all else is as
    it was.
    """
    spans = {span: as_kept(Period(*span), MIDDLE) for span in edges()}
    before = {span: await tokens(filled, kept.since, kept.until) for span, kept in spans.items() if not kept.empty}

    done = await prune(filled, Pruning(MIDDLE), lambda: NOW, told)

    assert done.records == COUNT - await rows(filled, records) > COUNT // 3
    after = {span: await tokens(filled, *span) for span in before}
    assert after == before
    assert {f.state async for f in check(filled, lambda _d, _o: None)} == {"ok"}


async def test_periods_that_meet_in_pruned_time_share_nothing_and_leave_nothing_out(filled):
    await prune(filled, Pruning(MIDDLE), lambda: NOW, told)

    whole = await tokens(filled, BEGIN, NOW)
    for at in (BEGIN + 1, BEGIN + 20 * MINUTE, MIDDLE - 1, MIDDLE, MIDDLE + 4 * MINUTE):
        assert await tokens(filled, BEGIN, at) + await tokens(filled, at, NOW) == whole == 2**COUNT - 1


async def test_one_tenants_records_go_and_the_others_stay(filled):
    """Reports are right for both."""
    asked = Pruning(MIDDLE, tenant="acme")
    expected = (await would_prune(filled, asked)).records
    done = await prune(filled, asked, lambda: NOW, told)

    assert done.records == expected > 0
    async with filled.reader() as conn:
        left = dict(
            (await conn.execute(sa.select(records.c.part, sa.func.min(records.c.at)).group_by(records.c.part))).all()
        )
    assert left[bytes.fromhex(KEY)] >= MIDDLE
    assert left[bytes.fromhex(OTHER_KEY)] == BEGIN + EACH
    assert await tokens(filled, BEGIN, NOW) == 2**COUNT - 1
    assert {f.state async for f in check(filled, lambda _d, _o: None)} == {"ok"}


async def test_a_tenant_that_is_mistyped_changes_nobodys_reports(filled):
    """No session is of it: the command says so, writes nothing down, and every total stays to the microsecond."""
    before = {span: await tokens(filled, *span) for span in edges()}
    asked = Pruning(MIDDLE, tenant="acmee")

    for work in (prune(filled, asked, lambda: NOW, told), would_prune(filled, asked)):
        with pytest.raises(UnknownName, match="'acmee'"):
            await work

    assert await rows(filled, prunings) == 0
    assert {span: await tokens(filled, *span) for span in before} == before


async def test_a_pruning_is_felt_only_as_far_as_it_removed_something(filled):
    """Whatever its age was: after the tenant's last record that went, the others' reports are to the microsecond."""
    alone = part("0c" * 16, "room_c", tenant="gamma", status="closed", ended_at=BEGIN + 2)
    connection = await filled.connect()
    one = batch(record("0c" * 16, at=BEGIN + 1), parts=[alone], before=Checkpoint(1, 100, COUNT))
    assert await connection.apply(one)
    await connection.aclose()
    before = {span: await tokens(filled, *span) for span in edges() if span[0] >= BEGIN + QUARTER}

    assert (await prune(filled, Pruning(NOW, tenant="gamma"), lambda: NOW, told)).records == 1

    assert {span: await tokens(filled, *span) for span in before} == before
    assert (await prune(filled, Pruning(NOW, tenant="gamma"), lambda: NOW, told)).records == 0
    assert await rows(filled, prunings) == 1


@pytest.mark.parametrize("others", [False, True])
async def test_what_was_pruned_of_a_tenant_that_names_an_erased_person_is_still_known(filled, others):
    """Their sessions and the pruning get the same other name: sums of then have no records to be compared with."""
    whose = [part("0c" * 16, "room_c", user="gamma-7", tenant="gamma-7", status="closed", ended_at=NOW)]
    if others:
        whose.append(part("0d" * 16, "room_d", user="dora", tenant="gamma-7", status="closed", ended_at=NOW))
    made = [record(one.key, at=BEGIN + n * EACH) for one in whose for n in range(COUNT)]
    connection = await filled.connect()
    one = batch(*made, parts=whose, before=Checkpoint(1, 100, COUNT))
    assert await connection.apply(one)
    await prune(filled, Pruning(MIDDLE, tenant="gamma-7"), lambda: NOW, told)

    await erase(filled, frozenset({"gamma-7"}), NOW, all_rooms=False, dry_run=False)
    late = batch(record("0c" * 16, at=NOW), parts=[whose[0]], before=one.after)
    assert await connection.apply(late)

    assert {f.state async for f in check(filled, lambda _d, _o: None)} == {"ok"}
    async with filled.reader() as conn:
        for table in (parts, prunings):
            tenants = set((await conn.execute(sa.select(table.c.tenant))).scalars())
            assert ("gamma-7" in tenants) == others
            assert any(tenant.startswith("erased_") for tenant in tenants)
    await connection.aclose()


async def test_sums_and_sessions_with_nothing_left_go_when_asked(filled):
    """A part that is open stays: it has still to end."""
    asked = Pruning(NOW + QUARTER, sums=True)
    expected = await would_prune(filled, asked)
    done = await prune(filled, asked, lambda: NOW, told)

    assert (
        (done.records, done.sums, done.parts) == (expected.records, expected.sums, expected.parts) == (60, done.sums, 1)
    )
    assert [await rows(filled, table) for table in (records, sums, parts, stays)] == [0, 0, 1, 0]
    assert {f.state async for f in check(filled, lambda _d, _o: None)} == {"ok"}


async def test_a_dry_run_removes_nothing(filled):
    assert (await would_prune(filled, Pruning(MIDDLE))).records > 0

    assert await rows(filled, records) == COUNT
    assert await rows(filled, prunings) == 0


async def test_a_replayed_spool_brings_no_pruned_record_back(filled, connection):
    """Its batches are behind the checkpoint, which stays."""
    await prune(filled, Pruning(NOW), lambda: NOW, told)

    assert not await connection.apply(batch(record(), parts=[part()]))
    assert await connection.checkpoint("source-1") == Checkpoint(1, 100, COUNT)
    assert await rows(filled, records) == 0


async def test_a_record_that_comes_late_into_pruned_time_is_counted_once(filled, connection):
    """And goes with the next pruning."""
    await prune(filled, Pruning(MIDDLE), lambda: NOW, told)
    late = record(at=BEGIN + MINUTE, units={"input_text": 2**COUNT})
    assert await connection.apply(batch(late, before=Checkpoint(1, 100, COUNT)))

    assert await tokens(filled, BEGIN, NOW) == 2 ** (COUNT + 1) - 1
    assert (await prune(filled, Pruning(MIDDLE), lambda: NOW, told)).records == 1
    assert await tokens(filled, BEGIN, NOW) == 2 ** (COUNT + 1) - 1


async def test_an_interrupted_pruning_leaves_reports_right(filled, monkeypatch):
    """It is written down before the first record goes; and it goes a few rows at a time."""
    monkeypatch.setattr(removal, "BATCH", 4)
    seen: list[int] = []

    def stop_at_twelve(count: int) -> None:
        seen.append(count)
        if count == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await prune(filled, Pruning(MIDDLE), lambda: NOW, stop_at_twelve)

    assert seen == [4, 8, 12]
    assert await rows(filled, records) == COUNT - 12
    assert await tokens(filled, BEGIN, NOW) == 2**COUNT - 1
    assert {f.state async for f in check(filled, lambda _d, _o: None)} == {"ok", "note"}


@pytest.mark.parametrize("hours", [23, 25])
async def test_retention_is_applied_once_a_day_by_whoever_is_first(filled, database_url, hours):
    now = [MIDDLE + 2 * DAY]
    await write_down_at(filled, MIDDLE + DAY)
    one, other = (StoreLedger(database_url, clock=lambda: now[0]) for _ in range(2))
    first, second = await one.connect(), await other.connect()

    assert not await first.retain(2)
    assert await rows(filled, records) < COUNT
    assert not await second.retain(2)
    assert await rows(filled, prunings) == 2
    now[0] += hours * 60 * MINUTE
    assert not await second.retain(2)

    assert await rows(filled, prunings) == (2 if hours < 24 else 3)
    for ledger, connection in ((one, first), (other, second)):
        await connection.aclose()
        await ledger.aclose()


async def test_a_retention_whose_process_has_died_is_finished_by_another(filled, database_url, monkeypatch):
    """Not while it is at it."""
    monkeypatch.setattr(removal, "BATCH", 5)
    now = [NOW + 2 * DAY]
    await write_down_at(filled, NOW + DAY)
    one, other = (StoreLedger(database_url, clock=lambda: now[0]) for _ in range(2))
    dead, second = await one.connect(), await other.connect()
    assert await dead.retain(1)
    await dead.aclose()

    assert not await second.retain(1)
    assert await rows(filled, records) == COUNT - 5
    now[0] += 6 * MINUTE
    while await second.retain(1):
        pass

    assert (await rows(filled, records), await rows(filled, prunings)) == (0, 2)
    await second.aclose()
    await one.aclose()
    await other.aclose()


async def write_down_at(ledger: StoreLedger, at: int, until: int = BEGIN) -> None:
    """A pruning of another day, that was done."""
    async with ledger.writer() as conn:
        await removal.close(conn, await removal.write_down(conn, Pruning(until), at, daily=True), at)


async def retained(database_url: str, clock: int, days: int = 1) -> None:
    """A process that begins with its clock at `clock`, and applies RETENTION_DAYS."""
    ledger = StoreLedger(database_url, clock=lambda: clock)
    connection = await ledger.connect()
    while await connection.retain(days):
        pass
    await connection.aclose()
    await ledger.aclose()


async def test_a_clock_that_is_ahead_removes_nothing_that_is_to_be_kept(filled, connection, database_url):
    """A host without NTP, 400 days ahead, that has written a record by its own clock: what the ledger has of the days
    before bears out how late it is.
    """
    ahead = NOW + 400 * DAY
    wrong = record(at=ahead - MINUTE)
    assert await connection.apply(batch(wrong, first_seq=COUNT + 1, source=Source("wrong", "h", 1, ahead)))
    await retained(database_url, ahead, days=2)
    assert await rows(filled, records) == COUNT + 1


async def test_a_pruning_of_the_future_keeps_nobody_from_todays(filled, database_url):
    """It was begun by a clock that was ahead; since that is right again, records go when they are due."""
    await write_down_at(filled, NOW + 400 * DAY)
    await retained(database_url, MIDDLE + DAY)
    assert await rows(filled, prunings) == 2
    async with filled.reader() as conn:
        assert (await conn.execute(sa.select(sa.func.min(records.c.at)))).scalar_one() >= MIDDLE


async def test_records_go_where_nobody_has_called_for_a_year_when_two_days_say_so(filled, database_url):
    """The first day might be a clock's mistake; the second one bears it out."""
    late = NOW + 365 * DAY
    await retained(database_url, late)
    assert await rows(filled, records) > 0
    await retained(database_url, late + DAY)
    assert await rows(filled, records) == 0


async def test_a_server_whose_clock_is_behind_ours_is_believed(postgres_url):
    """Its clock is the whole fleet's, also where yesterday has been written by one that is ahead."""
    ledger = StoreLedger(postgres_url)
    connection = await ledger.connect()
    now = clock.now()
    assert await connection.apply(batch(*(record(at=now + day * DAY) for day in (0, 399)), parts=[part()]))
    await connection.aclose()
    await retained(postgres_url, now + 400 * DAY)
    assert await rows(ledger, records) == 2
    await ledger.aclose()


def test_whole_buckets_become_old():
    assert older_than(DAY, BEGIN + QUARTER + DAY - 1) == BEGIN
