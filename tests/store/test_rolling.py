"""Rolled days: a report says the same with them and without; whoever changes a day ends its roll-up."""

from __future__ import annotations

import asyncio
import sqlite3
from array import array
from dataclasses import replace
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from livekit_tokens.core.ledger import Source
from livekit_tokens.core.reports import Filters, Group, Question, Reports, open_reports
from livekit_tokens.demo.filling import fill
from livekit_tokens.demo.traffic import traffic
from livekit_tokens.domain.periods import DAY, HOUR, Period
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.times import to_datetime
from livekit_tokens.domain.totals import Totals
from livekit_tokens.store import rolling_up
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.queries import StoredUsage
from livekit_tokens.store.rolled import Told, coarser, is_told_by
from livekit_tokens.store.rolling import beside, days_of, rolled_in, spans_of, with_short_gaps
from livekit_tokens.store.schema import day_sums, parts, rolled_days, sums
from livekit_tokens.store.writing import StoreConnection
from tests.store.batches import batch, part, record
from tests.waiting import PATIENCE_SECONDS

FIRST = 1_794_960_000_000_000
"""2026-11-18 00:00 UTC."""
NOW = FIRST + 8 * DAY + 7 * HOUR
LONG, FIRST_HALF, SECOND_HALF = "0e" * 16, "0c" * 16, "0d" * 16


@pytest.fixture
async def ledger(database_url):
    made = StoreLedger(database_url, pricing=lambda record: Price(len(record.model), 3), clock=lambda: NOW)
    yield made
    await made.aclose()


@pytest.fixture
async def connection(ledger):
    opened = await ledger.connect()
    await fill(opened, Source("demo", "h", 1, FIRST), traffic(Period(FIRST + HOUR, NOW), 1_500, seed=4))
    await opened.apply(_long_and_divided())
    yield opened
    await opened.aclose()


def _long_and_divided():
    """A call that goes on for three days, and a session with two parts on different days."""
    calls = [part(LONG, "long_1", started_at=FIRST + DAY, room="r")]
    calls += [part(key, "divided_1", started_at=FIRST + DAY) for key in (FIRST_HALF, SECOND_HALF)]
    spent = [record(LONG, at=FIRST + day * DAY + 5 * HOUR) for day in (1, 2, 4)]
    spent += [record(FIRST_HALF, at=FIRST + 2 * DAY), record(SECOND_HALF, at=FIRST + 6 * DAY - 1)]
    return batch(*spent, parts=calls)


def reports(ledger: StoreLedger) -> Reports:
    return open_reports(StoredUsage(ledger), now=lambda: NOW)


async def roll_all(connection: StoreConnection) -> None:
    while await connection.roll_up(10):
        pass


async def rolled_now(ledger: StoreLedger) -> list[int]:
    async with ledger.reader() as conn:
        return [(day - FIRST) // DAY for day in await rolled_in(conn, None)]


QUESTIONS = [
    {},
    {"by": ("operation",)},
    {"by": ("day", "operation")},
    {"by": ("day", "model"), "timezone": "America/New_York"},
    {"by": ("week",), "timezone": "Asia/Kathmandu"},
    {"by": ("month", "kind")},
    {"by": ("hour",)},
    {"by": ("feature",), "model": "gpt-realtime"},
    {"by": ("agent", "provider"), "service": "agent", "feature": "booking"},
    {"by": ("user",)},
    {"by": ("model",), "user": "user-0001"},
    {"by": ("tag:env",)},
    {"by": ("service",), "model": "no-such-model"},
]
PERIODS = [
    (FIRST - 3 * DAY, NOW),
    (FIRST + 7 * HOUR + 123_456_789, NOW),
    (FIRST + DAY, FIRST + 6 * DAY),
    (FIRST + DAY + 1, FIRST + 6 * DAY + 1),
]


async def test_reports_are_the_same_with_rolled_days_and_without(ledger, connection):
    """Every kind of question over every kind of period: totals, groups, counts of sessions, to the nano-dollar."""
    asked = [
        {"since": to_datetime(since), "until": to_datetime(until), **question}
        for question in QUESTIONS
        for since, until in PERIODS
    ]
    before = [(await reports(ledger).report(**question)).to_dict() for question in asked]
    await roll_all(connection)
    assert await rolled_now(ledger) == list(range(8))
    after = [(await reports(ledger).report(**question)).to_dict() for question in asked]
    assert after == before


async def test_long_reports_are_answered_from_rolled_days(ledger, connection, monkeypatch):
    """What could not have been found otherwise: a roll-up that says something else is believed."""
    await roll_all(connection)
    async with ledger.writer() as conn:
        await conn.execute(sa.update(day_sums).values(requests=1_000_000))
    assert (await reports(ledger).report(since=to_datetime(FIRST))).totals.requests > 1_000_000
    assert (await reports(ledger).report(since=to_datetime(FIRST), by=("user",))).totals.requests == 1_505


@pytest.mark.parametrize(
    "change",
    [
        sa.insert(sums).from_select(
            [c.name for c in sums.columns],
            sa.select(*(sa.literal("late") if c.name == "feature" else c for c in sums.columns)).where(
                sums.c.part == bytes.fromhex(FIRST_HALF)
            ),
        ),
        sa.update(sums).where(sums.c.part == bytes.fromhex(FIRST_HALF)).values(output_cost=7),
        sa.delete(sums).where(sums.c.part == bytes.fromhex(FIRST_HALF)),
        sa.update(parts).where(parts.c.key == bytes.fromhex(FIRST_HALF)).values(session_id="other_1"),
        sa.delete(parts).where(parts.c.key == bytes.fromhex(FIRST_HALF)),
    ],
    ids=["a new sum", "another price", "a pruned sum", "another session", "an erased part"],
)
async def test_whoever_changes_a_day_ends_its_roll_up(ledger, connection, change):
    """By whatever statement, of whatever program: that day, and no other, is told by its sums again."""
    await roll_all(connection)
    async with ledger.writer() as conn:
        await conn.execute(change)
    assert await rolled_now(ledger) == [0, 1, 3, 4, 5, 6, 7]
    await roll_all(connection)
    assert await rolled_now(ledger) == list(range(8))


async def test_a_record_of_1970_costs_its_own_day_and_none_of_those_after_it(ledger, connection):
    """A usual slip is a time of 0; a ledger's years without usage are no work for anybody."""
    long_ago = batch(record(LONG, at=5), source=Source("slip", "h", 1, FIRST), first_seq=99)
    assert await connection.apply(long_ago)
    assert await connection.roll_up(PATIENCE_SECONDS) is False
    assert await rolled_now(ledger) == [-FIRST // DAY, *range(8)]


def test_short_gaps_are_filled_so_that_weekends_do_not_cut_a_year():
    """A report asks once a span."""
    days = [0, 3 * DAY, 40 * DAY]
    assert [day // DAY for day in with_short_gaps(days)] == [0, 1, 2, 3, 40]
    assert list(with_short_gaps([])) == []


async def test_a_late_record_is_in_the_next_report(ledger, connection):
    """An orphan's spool comes home a week later."""
    await roll_all(connection)
    before = await reports(ledger).report(since=to_datetime(FIRST))
    late = batch(record(LONG, at=FIRST + 3 * DAY), source=Source("late", "h", 1, FIRST), first_seq=99)
    assert await connection.apply(late)
    assert 3 not in await rolled_now(ledger)
    after = await reports(ledger).report(since=to_datetime(FIRST))
    assert after.totals.requests == before.totals.requests + 1


async def test_a_part_that_changes_nothing_of_its_sessions_keeps_its_days(ledger, connection):
    """Parts are written whole at every change; most changes are no other session."""
    await roll_all(connection)
    closed = part(LONG, "long_1", started_at=FIRST + DAY, room="r", status="closed", ended_at=NOW)
    assert await connection.apply(batch(parts=[closed], source=Source("late", "h", 1, FIRST)))
    assert await rolled_now(ledger) == list(range(8))


async def test_without_its_triggers_a_table_is_not_trusted(ledger, connection):
    """Who makes `sums` anew, to partition it, makes it without them: reports are slower then, and right."""
    await roll_all(connection)
    async with ledger.writer() as conn:
        on = " ON sums" if conn.dialect.name == "postgresql" else ""
        await conn.exec_driver_sql(f"DROP TRIGGER sums_updated{on}")
        await conn.execute(sa.update(sums).values(requests=sums.c.requests + 1))
    told = (await reports(ledger).report(since=to_datetime(FIRST))).totals.requests
    async with ledger.reader() as conn:
        assert told == (await conn.execute(sa.select(sa.func.sum(sums.c.requests)))).scalar_one()
    assert await rolled_now(ledger) == []
    assert await connection.roll_up(1) is False


async def test_triggers_of_somebody_else_do_not_stand_for_ours(ledger, connection):
    """A DBA's audit has triggers of its own on the same tables, however many."""
    await roll_all(connection)
    async with ledger.writer() as conn:
        postgres = conn.dialect.name == "postgresql"
        await conn.exec_driver_sql(f"DROP TRIGGER sums_inserted{' ON sums' if postgres else ''}")
        if postgres:
            await conn.exec_driver_sql(
                "CREATE FUNCTION audited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
            )
        does = "EXECUTE FUNCTION audited()" if postgres else "BEGIN SELECT 1; END"
        for number in range(5):
            await conn.exec_driver_sql(f"CREATE TRIGGER audit_{number} AFTER DELETE ON parts FOR EACH ROW {does}")
    assert await rolled_now(ledger) == []


async def test_a_day_is_rolled_up_an_hour_after_its_end(database_url):
    """Not before: most of what is late has come by then. Days without usage are done as well."""
    moment = [FIRST + DAY + HOUR - 1]
    ledger = StoreLedger(database_url, clock=lambda: moment[0])
    connection = await ledger.connect()
    await connection.apply(batch(record(at=FIRST - 2 * DAY), record(at=FIRST + HOUR), parts=[part()]))
    await roll_all(connection)
    assert await rolled_now(ledger) == [-2, -1]
    moment[0] += 1
    await roll_all(connection)
    assert await rolled_now(ledger) == [-2, -1, 0]
    await connection.aclose()
    await ledger.aclose()


async def test_two_processes_may_roll_up_at_once(ledger, connection):
    """Each day is done once, and neither of them fails."""
    other = await ledger.connect()
    await asyncio.gather(roll_all(connection), roll_all(other))
    assert await rolled_now(ledger) == list(range(8))
    async with ledger.reader() as conn:
        told = (await conn.execute(sa.select(sa.func.sum(day_sums.c.requests)))).scalar_one()
        there = sa.select(sa.func.sum(sums.c.requests)).where(sums.c.bucket < FIRST + 8 * DAY)
        assert told == (await conn.execute(there)).scalar_one()
    await other.aclose()


async def test_a_roll_up_ends_in_time_and_goes_on_later(ledger, connection):
    """A call's process shares its time with it."""
    assert await connection.roll_up(0) is True
    async with ledger.reader() as conn:
        assert (await conn.execute(sa.select(sa.func.count()).select_from(rolled_days))).scalar_one() == 0
    assert await connection.roll_up(60) is False


async def test_a_roll_up_goes_on_however_long_it_took_to_find_what_is_due(ledger, connection, monkeypatch):
    """Else a ledger so large that finding it takes longer than a roll-up may would have no rolled day, for ever."""
    passed, due = [0.0], rolling_up.due_days

    async def slow(*given: object) -> list[int]:
        passed[0] += 10.0
        return await due(*given)

    monkeypatch.setattr(rolling_up, "due_days", slow)
    monkeypatch.setattr(rolling_up, "time", SimpleNamespace(monotonic=lambda: passed[0]))

    assert await connection.roll_up(1) is False
    assert await rolled_now(ledger) == list(range(8))


def test_finding_the_days_reads_no_row_of_a_day_but_its_first():
    """Whatever else is asked of the rows' time: 60 days of 100 rows are not read through for each of them."""
    days, each, steps = 60, 100, 0
    ledger = sqlite3.connect(":memory:")
    ledger.execute("CREATE TABLE sums (bucket INTEGER)")
    ledger.execute("CREATE INDEX by_time ON sums (bucket)")
    ledger.executemany("INSERT INTO sums VALUES (?)", [(n * DAY // each,) for n in range(days * each)])

    def step() -> None:
        nonlocal steps
        steps += 1

    asked = days_of(sums.c.bucket, sums.c.bucket >= 0, sums.c.bucket < days * DAY)
    ledger.set_progress_handler(step, 1)
    found = ledger.execute(str(asked.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})))
    assert [day for (day,) in found] == [n * DAY for n in range(days)]
    assert steps < days * each


def test_spans_are_days_put_together_and_what_is_beside_them():
    """Neighbours make one span; the rest of a period is what no span holds."""
    spans = spans_of([0, DAY, 3 * DAY])
    assert spans == [Period(0, 2 * DAY), Period(3 * DAY, 4 * DAY)]
    assert beside(Period(-5, 4 * DAY), spans) == [Period(-5, 0), Period(2 * DAY, 3 * DAY)]
    assert beside(Period(1, 2), []) == [Period(1, 2)]


def test_sessions_that_two_groups_share_are_counted_once_in_what_is_put_together_of_them():
    """Digests are united, not added; amounts are added."""
    finer = [
        Told(Group({"service": "agent", "model": "a"}, 2, Totals(requests=3)), array("Q", [1, 2])),
        Told(Group({"service": "agent", "model": "b"}, 1, Totals(requests=4)), array("Q", [2])),
        Told(Group({"service": "tts", "model": "c"}, 1, Totals(requests=5)), array("Q", [3])),
    ]
    assert coarser(Question(("service",)), finer) == [
        Group({"service": "agent"}, 2, Totals(requests=7)),
        Group({"service": "tts"}, 1, Totals(requests=5)),
    ]


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (Question(("model",)), True),
        (Question(("model", "service")), True),
        (Question(()), True),
        (Question(("model", "user")), False),
        (Question(("model",), Period(0, DAY)), False),
        (Question(("model",), filters=Filters(provider="openai")), False),
        (Question(("model",), cancelled=True), False),
    ],
)
def test_a_question_is_told_by_a_finer_one_about_the_same(question, told):
    """Same period, same filters, and nothing that the finer one does not name."""
    assert is_told_by(question, Question(("service", "model", "operation"))) is told


async def test_a_coarser_question_is_answered_as_if_it_were_the_first_one(ledger, connection):
    """Out of what a finer one told in the same snapshot: same groups, same sessions, to the nano-dollar."""
    await roll_all(connection)
    finer = Question(("service", "provider", "model", "operation"), Period(FIRST + HOUR, NOW - 1))
    for by in ((), ("model",), ("operation", "service")):
        coarse = replace(finer, by=by)
        async with StoredUsage(ledger).reader() as reader:
            first = await reader.grouped(coarse)
        async with StoredUsage(ledger).reader() as reader:
            await reader.grouped(finer)
            put_together = await reader.grouped(coarse)
        assert by_key(put_together) == by_key(first)


def by_key(groups):
    return sorted(groups, key=lambda group: str(group.key))
