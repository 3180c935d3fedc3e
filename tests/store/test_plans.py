"""How the databases find what a question is about: a short period never reads the whole of a long ledger."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.ledger import Source
from livekit_tokens.core.reports import Filters, Question
from livekit_tokens.demo.filling import fill
from livekit_tokens.demo.traffic import traffic
from livekit_tokens.domain.periods import CUTTINGS, DAY, Period, cut, read_zone
from livekit_tokens.domain.times import QUARTER
from livekit_tokens.store import requests
from livekit_tokens.store.conditions import span_conditions
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.grouping import grouped, matching_parts, sessions_beside
from livekit_tokens.store.lengths import calls
from livekit_tokens.store.queries import SqlReader
from livekit_tokens.store.rolled import spans_for
from livekit_tokens.store.rolling import rolled_in
from livekit_tokens.store.schema import sums

NOW = 1_795_631_831_000_000
YEAR = Period(NOW - 365 * DAY, NOW)
DAYS = Period(NOW - 3 * DAY, NOW)
"""Short enough that no planner may think of reading everything."""

QUESTIONS = [
    ("operation",),
    ("model",),
    ("service", "model"),
    ("day",),
    ("hour",),
    ("user",),
    ("day", "operation"),
    ("hour", "model"),
    ("user", "day"),
]
"""By operation, model, time, user; day x operation, time x model, user x time."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ledgers(tmp_path_factory, postgres_server) -> AsyncIterator[dict[str, str]]:
    """A year of traffic in each database, with the statistics that a living one has."""
    url = postgres_server.new_database()
    urls = {"sqlite": f"sqlite:///{tmp_path_factory.mktemp('plans') / 'ledger.db'}", "postgresql": url}
    for database_url in urls.values():
        ledger = StoreLedger(database_url, clock=lambda: NOW)
        connection = await ledger.connect()
        await fill(connection, Source("demo", "h", 1, YEAR.since), traffic(YEAR, 20_000, seed=1))
        while await connection.roll_up(60):
            pass
        await connection.aclose()
        async with ledger.writer() as conn:
            if conn.dialect.name == "postgresql":
                await conn.exec_driver_sql("ANALYZE")
        await ledger.aclose()
    yield urls
    postgres_server.drop(url)


@pytest_asyncio.fixture(params=["sqlite", "postgresql"], loop_scope="module")
async def conn(request, ledgers) -> AsyncIterator[AsyncConnection]:
    ledger = StoreLedger(ledgers[request.param])
    async with ledger.reader() as opened:
        yield opened
    await ledger.aclose()


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def plan_of(conn: AsyncConnection, statement: sa.Executable) -> str:
    sql = str(statement.compile(conn.sync_connection, compile_kwargs={"literal_binds": True}))
    explain = "EXPLAIN " if conn.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    rows = await conn.execute(sa.text(explain + sql.replace(":", r"\:")))
    return "\n".join(str(row[-1]) for row in rows)


def read_whole(plan: str, *tables: str) -> list[str]:
    """Tables that are gone through from end to end. A search in an index is none, nor a scan of what was found."""
    scanned = re.findall(r"^\W*SCAN (\w+)|Seq Scan on (\w+)", plan, re.MULTILINE)
    return sorted({one or other for one, other in scanned} & set(tables))


def asked(by: tuple[str, ...], period: Period = DAYS, **filters: str) -> Question:
    cutting = next((name for name in by if name in CUTTINGS), None)
    cuts = cut(period, cutting, read_zone("UTC")) if cutting else ()
    return Question(by, period, Filters(**filters), cuts=cuts)


@pytest.mark.parametrize("by", QUESTIONS, ids=" x ".join)
async def test_a_report_of_some_days_searches_the_time_index(conn, by):
    """Out of sums and, at the period's edges, out of records."""
    plan = await plan_of(conn, grouped(asked(by)))
    assert read_whole(plan, "sums", "records") == [], plan
    assert "sums_by_time" in plan
    assert "records_by_time" in plan


@pytest.mark.parametrize("by", [("service", "model"), ("day", "operation")], ids=" x ".join)
async def test_a_report_of_a_year_reads_rolled_days_and_the_edges_beside_them(conn, by):
    """The sums of a year are not read, only those of the day that goes on; whose they are is not looked up."""
    question = asked(by, YEAR)
    spans = spans_for(question, await rolled_in(conn, None))
    assert spans
    plan = await plan_of(conn, grouped(question, spans))
    assert read_whole(plan, "sums", "records") == [], plan
    assert "day_sums" in plan
    assert "parts" not in plan


async def test_whose_the_calls_beside_rolled_days_are_is_looked_up(conn):
    """Call by call: of the ledger's parts those that the day has, however many there are."""
    question = asked(("service", "model"), YEAR)
    plan = await plan_of(conn, sessions_beside(question, spans_for(question, await rolled_in(conn, None))))
    assert read_whole(plan, "sums", "records", "parts") == [], plan


@pytest.mark.parametrize("filters", [{"user": "user-0001"}, {"room": "hotline"}, {"model": "whisper-1"}])
async def test_filters_do_not_end_the_search_by_time(conn, filters):
    """A filter narrows what a period holds; it never widens what is read."""
    plan = await plan_of(conn, grouped(asked(("operation",), **filters)))
    assert read_whole(plan, "sums", "records") == [], plan


async def test_the_dearest_records_are_sought_among_those_of_the_period(conn):
    """Dearest first, of some days: sorted are those days, not the ledger."""
    plan = await plan_of(conn, requests.dearest(asked(()), 20))
    assert read_whole(plan, "records") == [], plan
    assert "records_by_time" in plan


@pytest.mark.parametrize("statement", [requests.in_order, requests.judged], ids=["in order", "judged"])
async def test_single_records_are_found_by_the_time_index(conn, statement):
    """Exports, failures and times of some days."""
    plan = await plan_of(conn, statement(asked(())))
    assert read_whole(plan, "records") == [], plan


async def test_the_calls_of_a_period_are_read_from_an_index_alone(conn):
    """Which parts have usage: without a filter, the rows of the sums are not even looked at."""
    question = asked(())
    plan = await plan_of(conn, sa.select(sa.func.count()).select_from(matching_parts(question).subquery()))
    assert read_whole(plan, "sums", "records") == [], plan
    assert re.search(r"COVERING INDEX sums_by_time|Index Only Scan using sums_by_time", plan), plan
    assert read_whole(await plan_of(conn, calls(question, NOW)), "sums", "records") == []


async def test_the_calls_of_a_quarter_hour_are_told_apart_in_the_order_of_the_index(conn):
    """Each once, without being sorted: of each there are as many rows as it has models and operations."""
    quarters = asked((), Period(*(at - at % QUARTER for at in (DAYS.since, DAYS.until))))
    plan = await plan_of(conn, matching_parts(quarters))
    assert not re.search(r"TEMP B-TREE|Sort|HashAggregate", plan), plan
    told = (await conn.execute(matching_parts(quarters))).scalars().all()
    once = sa.select(sums.c.bucket, sums.c.part).where(*span_conditions(sums.c.bucket, quarters.period)).distinct()
    assert len(told) == len((await conn.execute(once)).all())


async def test_the_calls_of_a_period_are_put_in_order_once(conn):
    """The statement names its one window: written out again with parameters of its own, SQLite sorts all calls again
    (half of the time that a month of 10 million records took)."""
    statement = calls(asked(()), NOW)
    assert str(statement.compile(conn.sync_connection)).count("OVER (") == 1
    assert len(re.findall(r"WindowAgg|TEMP B-TREE FOR ORDER BY", await plan_of(conn, statement))) == 1


async def test_calls_are_put_in_the_order_of_bytes(conn):
    """A locale's order costs a tenth of a month's report, and is of no use: sessions are only told apart."""
    plan = await plan_of(conn, calls(asked(()), NOW))
    assert ('COLLATE "C"' in plan) == (conn.dialect.name == "postgresql"), plan


async def test_open_calls_are_found_without_reading_the_ended_ones(conn):
    """`live` asks every second: the index holds only what is open."""
    seen = []

    def listen(_conn, _cursor, sql, *_rest):
        seen.append(sql)

    engine = conn.sync_engine
    sa.event.listen(engine, "before_cursor_execute", listen)
    try:
        await SqlReader(conn).running(asked(()), 10)
    finally:
        sa.event.remove(engine, "before_cursor_execute", listen)
    explain = "EXPLAIN " if conn.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    since = {"postgresql": "$1::BIGINT", "sqlite": "?"}[conn.dialect.name]
    (sql,) = [sql.replace(since, "10") for sql in seen]
    plan = "\n".join(str(row[-1]) for row in await conn.exec_driver_sql(explain + sql))
    assert "parts_open" in plan, plan


async def test_a_session_is_found_by_its_id(conn):
    """Its parts, and their sums by the key."""
    question = Question(("service", "model"), sessions=("front-desk_000000000",))
    plan = await plan_of(conn, grouped(question))
    assert read_whole(plan, "sums", "parts") == [], plan
