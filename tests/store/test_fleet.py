"""A fleet on one PostgreSQL: more processes than it has connections, and a pooler before it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from livekit_tokens.core import background
from livekit_tokens.core.background import Background
from livekit_tokens.core.chores import Chores
from livekit_tokens.core.ledger import Source
from livekit_tokens.domain.errors import LedgerCrowded
from livekit_tokens.store import condition, connection
from livekit_tokens.store.address import address_of
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.schema import records
from tests import lacking, pgbouncer
from tests.core.makers import a_part, a_record, a_recorder
from tests.store.batches import batch, part, record
from tests.waiting import PATIENCE_SECONDS, wait_until

PROCESSES = 6
CONNECTIONS = 2


@pytest.fixture
def crowded_url(postgres_server, postgres_url) -> Iterator[str]:
    """A database whose owner may have two connections."""
    name = address_of(postgres_url).dsn.rpartition("/")[2]
    postgres_server.execute(f"CREATE ROLE few_{name} LOGIN CONNECTION LIMIT {CONNECTIONS}")
    postgres_server.execute(f"ALTER DATABASE {name} OWNER TO few_{name}")
    yield postgres_url.replace("//tests@", f"//few_{name}@")
    postgres_server.execute(f"ALTER DATABASE {name} OWNER TO tests")


@pytest.fixture
def pooled_url(postgres_url) -> Iterator[str]:
    try:
        with pgbouncer.before(postgres_url) as url:
            yield f"{url}?pgbouncer=true"
    except pgbouncer.NoPgBouncer as missing:
        lacking.give_up(missing)


async def count(url: str) -> int:
    ledger = StoreLedger(url)
    try:
        async with ledger.reader() as conn:
            return int((await conn.execute(sa.select(sa.func.count()).select_from(records))).scalar_one())
    finally:
        await ledger.aclose()


def test_more_processes_than_connections_all_bring_what_they_have(crowded_url, postgres_url, tmp_path, monkeypatch):
    """Each is written to once and then idle, as after a call: what one does not need, the next one gets."""
    monkeypatch.setattr(background, "KEEP_SECONDS", 0.2)
    monkeypatch.setattr(background, "_LOOK_SECONDS", 0.1)
    fleet = []
    for number in range(PROCESSES):
        key = f"{number:032x}"
        recorder = a_recorder(tmp_path / str(number))
        ledger = StoreLedger(crowded_url)
        own = Background(recorder, ledger, Chores(recorder.source, list))
        recorder.put_part(a_part(key))
        recorder.record(a_record(key=key))
        own.start()
        own.written()
        fleet.append(own)
    wait_until(lambda: not any(own.behind for own in fleet))
    wait_until(lambda: not any(own._connection for own in fleet))
    assert asyncio.run(count(postgres_url)) == PROCESSES


async def test_a_server_without_a_connection_left_says_so(crowded_url):
    """Who is refused is told why, and what to do; when one is given back there is one."""
    ledger = StoreLedger(crowded_url)
    taken = [await ledger.connect() for _ in range(CONNECTIONS)]
    with pytest.raises(LedgerCrowded, match=r"too many connections.*PgBouncer"):
        await ledger.connect()
    for each in taken:
        await each.aclose()
    await (await ledger.connect()).aclose()
    await ledger.aclose()


async def test_a_reader_waits_for_a_connection_that_will_be_free(crowded_url, monkeypatch):
    """An operator asks while all of a fleet's are in use or idle; for ever it does not wait."""
    ledger = StoreLedger(crowded_url)
    taken = [await ledger.connect() for _ in range(CONNECTIONS)]
    asked = asyncio.create_task(count(crowded_url))
    await asyncio.sleep(0.5)
    assert not asked.done()
    for each in taken[1:]:
        await each.aclose()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await asked == 0
    taken[1:] = [await ledger.connect()]
    monkeypatch.setattr(connection, "PATIENT_SECONDS", 0.0)
    with pytest.raises(LedgerCrowded):
        await count(crowded_url)
    for each in (*taken, ledger):
        await each.aclose()


async def test_transactions_by_way_of_pgbouncer_find_all_that_they_need(pooled_url, postgres_url):
    """In transaction mode, by turns on two of the server's connections: drains, roll-ups, reports and looks at it."""
    ledger = StoreLedger(pooled_url)
    fleet = [await ledger.connect() for _ in range(PROCESSES)]

    async def drain(number: int) -> None:
        key, source = f"{number:032x}", Source(f"s{number}", "h", 1, 0)
        before = None
        for turn in range(10):
            made = batch(record(key), before=before, parts=[part(key)] if turn == 0 else [], source=source)
            assert await fleet[number].apply(made)
            before = made.after
        await fleet[number].roll_up(0)
        await fleet[number].retain(36_500)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(drain(number) for number in range(PROCESSES)), *(count(postgres_url) for _ in range(3)))
        assert await count(pooled_url) == PROCESSES * 10
    looked = await asyncio.to_thread(lambda: [*condition.look_at_ledger(pooled_url)])
    assert [finding.state for finding in looked] == ["ok", "ok"]
    for each in (*fleet, ledger):
        await each.aclose()


def test_what_a_look_sets_is_not_left_to_others(pooled_url):
    """A pooler gives the same connection of the server to the next one who asks."""
    address = address_of(pooled_url)

    async def told() -> set[str]:
        found = set()
        for _ in range(4):
            assert await condition.revision_at(address) is None
            conn = await condition.postgres_engine(address, poolclass=sa.NullPool).connect()
            found.add((await conn.exec_driver_sql("SHOW statement_timeout")).scalar_one())
            await conn.close()
        return found

    assert asyncio.run(told()) == {"0"}
