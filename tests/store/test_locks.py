"""What waits for whom on PostgreSQL: each of these would be wrong without its lock, and only when two come at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import ModuleType

import asyncpg
import pytest
import sqlalchemy as sa

from livekit_tokens.core.ledger import Batch, Source
from livekit_tokens.core.repricing import Asked
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.periods import Period
from livekit_tokens.store import connection as connection_module
from livekit_tokens.store import engines, ingest, locks, once, revision, schema
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping.erasing import erase
from livekit_tokens.store.keeping.pruning import prune
from livekit_tokens.store.keeping.removal import Pruning
from livekit_tokens.store.named import _lock_of
from livekit_tokens.store.repricing import Audit, priced_ledger
from livekit_tokens.store.writing import StoreConnection
from tests.store.batches import KEY, OTHER_KEY, SECOND, START, batch, part, record
from tests.waiting import PATIENCE_SECONDS

THIRD_KEY = "0c" * 16


async def blocked_or_done(url: str, task: asyncio.Task[object]) -> None:
    """Until somebody waits for a lock in this database, or `task`, which should, has not waited for any."""
    seer = await asyncpg.connect(url)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not task.done() and not await seer.fetchval(waits):
            await asyncio.sleep(0.005)
    await seer.close()


class Held:
    """The first call of a step lingers, with its transaction open, until it is let go: when it is done, or before."""

    def __init__(self, monkeypatch, module: ModuleType, step: str, *, before: bool = False) -> None:
        self.is_held, self.let_go = asyncio.Event(), asyncio.Event()
        self._really, self._before = getattr(module, step), before
        monkeypatch.setattr(module, step, self)

    async def __call__(self, *given):
        if self._before:
            await self._linger()
        answer = await self._really(*given)
        if not self._before:
            await self._linger()
        return answer

    async def _linger(self) -> None:
        if not self.is_held.is_set():
            self.is_held.set()
            await self.let_go.wait()


async def test_an_erasure_waits_for_a_drain_that_has_begun(postgres_url, monkeypatch):
    """It has looked whom to forget, and would commit the person behind the erasure's back."""
    ledger = StoreLedger(postgres_url)
    connection = await ledger.connect()
    held = Held(monkeypatch, ingest, "complete_named")
    draining = asyncio.create_task(connection.apply(batch(record(), parts=[part()])))
    await held.is_held.wait()
    erasing = asyncio.create_task(erase(ledger, frozenset({"ann"}), START + 1, all_rooms=False, dry_run=False))
    await blocked_or_done(postgres_url, erasing)
    held.let_go.set()

    assert await draining
    assert (await erasing)[0].parts == 1
    async with ledger.reader() as conn:
        assert (await conn.execute(sa.select(schema.parts.c.user_id))).scalars().all() == [None]
    await connection.aclose()
    await ledger.aclose()


async def test_of_two_that_tell_of_one_telephone_the_second_sees_what_the_first_added(postgres_url, monkeypatch):
    """Both know what was told before: each would add the same minute to it. Their parts are there already, so that it
    is not the session that they wait for.
    """
    ledger = StoreLedger(postgres_url)
    connections = [await ledger.connect() for _ in range(3)]
    began: dict[str, Batch] = {}

    async def begin(key: str, connection: StoreConnection) -> None:
        began[key] = batch(parts=[part(key)], source=Source(key, "host", 1, START))
        assert await connection.apply(began[key])

    def told(key: str, seconds: int) -> Batch:
        leg = record(
            key,
            at=START + seconds * SECOND,
            model="sip",
            units={"session_ms": seconds * 1000},
            idempotency_key="session_minutes/PA_1/sip",
        )
        return batch(leg, before=began[key].after, source=began[key].source)

    for key, connection in zip((KEY, OTHER_KEY, THIRD_KEY), connections, strict=True):
        await begin(key, connection)
    assert await connections[0].apply(told(KEY, 60))
    late = Held(monkeypatch, once, "_added", before=True)
    second = asyncio.create_task(connections[2].apply(told(THIRD_KEY, 120)))
    await late.is_held.wait()
    held = Held(monkeypatch, ingest, "told_first")
    first = asyncio.create_task(connections[1].apply(told(OTHER_KEY, 120)))
    await held.is_held.wait()
    late.let_go.set()
    await blocked_or_done(postgres_url, second)
    held.let_go.set()

    assert await asyncio.gather(first, second) == [True, True]
    async with ledger.reader() as conn:
        assert (await conn.execute(sa.select(sa.func.sum(schema.sums.c.session_ms)))).scalar() == 120_000
    for opened in (*connections, ledger):
        await opened.aclose()


async def test_a_repricing_waits_for_another(postgres_url):
    """Each would price from the other's half."""
    ledger, other = StoreLedger(postgres_url), StoreLedger(postgres_url)
    await (await ledger.connect()).aclose()
    asked = Asked(Period(0, START))

    async def second() -> None:
        async with priced_ledger(other, asked, Audit("audit-2", START, "ops@host"), dry_run=False):
            pass

    async with priced_ledger(ledger, asked, Audit("audit-1", START, "ops@host"), dry_run=False):
        waiting = asyncio.create_task(second())
        await blocked_or_done(postgres_url, waiting)
        assert not waiting.done()
    await waiting
    await ledger.aclose()
    await other.aclose()


async def gone_in_its_transaction(url: str, *held: str) -> asyncpg.Connection:
    """A process whose host has vanished, as far as the server knows: what it did stays as it was."""
    lost = await asyncpg.connect(url)
    await lost.execute("BEGIN")
    for statement in held:
        await lost.execute(statement)
    return lost


def of_source(name: str, *sessions: str) -> Batch:
    parts = [part(f"{number:02x}{name.encode().hex():0>30}", session) for number, session in enumerate(sessions)]
    return batch(parts=parts, source=Source(name, "host", 1, START))


async def test_a_session_that_is_held_for_long_keeps_no_others_waiting(postgres_url):
    """A backend with several sessions waits for the one that is held; others' do not wait for the backend."""
    ledger = StoreLedger(postgres_url)
    backend, stranger = await ledger.connect(), await ledger.connect()
    by_lock = {_lock_of(name): name for name in (f"room_{number}" for number in range(1000))}
    (_, free), (held, waited_for) = sorted(by_lock.items())[:2]
    lost = await gone_in_its_transaction(postgres_url, f"SELECT pg_advisory_xact_lock({held})")
    waiting = asyncio.create_task(backend.apply(of_source("backend", free, waited_for)))
    await blocked_or_done(postgres_url, waiting)

    assert await stranger.apply(of_source("stranger", free))
    with pytest.raises(LedgerUnavailable, match="has held a lock of the ledger for more than 1 s"):
        await waiting
    await lost.close()
    again = await ledger.connect()
    assert await again.apply(of_source("backend", free, waited_for))
    for opened in (stranger, again, ledger):
        await opened.aclose()


async def test_drains_pass_an_erasure_that_waits(postgres_url):
    """It waits for a transaction that does not end; who comes later does not wait behind it for as long."""
    ledger = StoreLedger(postgres_url)
    connection = await ledger.connect()
    assert await connection.apply(of_source("first", "room_a"))
    lost = await gone_in_its_transaction(postgres_url, "UPDATE sources SET updated_at = updated_at")
    erasing = asyncio.create_task(erase(ledger, frozenset({"ann"}), START + 1, all_rooms=False, dry_run=False))
    await blocked_or_done(postgres_url, erasing)

    assert await connection.apply(of_source("later", "room_b"))
    assert not erasing.done()
    await lost.close()
    assert (await erasing)[0].parts == 2
    await connection.aclose()
    await ledger.aclose()


@asynccontextmanager
async def an_older_ledger(url: str) -> AsyncIterator[asyncpg.Connection]:
    """One that an upgrade is due for; and a reader of it, an export's, that has begun."""
    ledger = StoreLedger(url)
    connection = await ledger.connect()
    assert await connection.apply(batch(record(), parts=[part()]))
    await connection.aclose()
    await ledger.aclose()
    reader = await asyncpg.connect(url)
    await reader.execute(
        "ALTER TABLE rolled_days DROP COLUMN taken_by, DROP COLUMN taken_at; "
        "UPDATE alembic_version SET version_num = '0007'"
    )
    await reader.execute("BEGIN")
    await reader.execute("SELECT FROM rolled_days")
    yield reader
    await reader.close()


async def test_drains_pass_an_upgrade_that_waits(postgres_url):
    """It waits for a reader; those of the older version do not wait behind it for as long."""
    async with an_older_ledger(postgres_url) as reader:
        newer = StoreLedger(postgres_url)
        upgrading = asyncio.create_task(newer.connect())
        await blocked_or_done(postgres_url, upgrading)
        older = await asyncpg.connect(postgres_url)
        assert await older.execute("UPDATE sums SET requests = 2") == "UPDATE 1"  # its triggers change `rolled_days`
        assert not upgrading.done()
        await older.close()
        await reader.execute("ROLLBACK")
        await (await upgrading).aclose()
        await newer.aclose()


async def test_an_upgrade_that_waits_in_vain_leaves_the_ledger_as_it_was(postgres_url, monkeypatch):
    """One line; what waits for it is kept in the spools, and tries again."""
    monkeypatch.setattr(revision, "LOCK_SECONDS", 0.0)
    async with an_older_ledger(postgres_url) as reader:
        newer = StoreLedger(postgres_url)
        with pytest.raises(LedgerUnavailable, match=r"more than 0 s; nothing is changed.*pg_stat_activity"):
            await newer.connect()
        assert await reader.fetchval("SELECT version_num FROM alembic_version") == "0007"
        await newer.aclose()


async def test_an_erasure_that_cannot_be_alone_says_so(postgres_url, monkeypatch):
    """One line, and nothing is changed."""
    monkeypatch.setattr(locks, "ALONE_SECONDS", 0.0)
    ledger = StoreLedger(postgres_url)
    connection = await ledger.connect()
    assert await connection.apply(of_source("first", "room_a"))
    lost = await gone_in_its_transaction(postgres_url, "UPDATE sources SET updated_at = updated_at")
    with pytest.raises(LedgerUnavailable, match=r"more than 0 s; nothing is changed.*pg_stat_activity"):
        await erase(ledger, frozenset({"ann"}), START + 1, all_rooms=False, dry_run=False)
    await lost.close()
    await connection.aclose()
    await ledger.aclose()


async def test_a_writer_that_falls_silent_in_its_transaction_loses_its_locks(postgres_url, monkeypatch):
    """Its host has vanished: the server ends it after a minute, and hears by the network whether it is there."""
    monkeypatch.setattr(engines, "SILENT_SECONDS", 1)
    lost, ledger = StoreLedger(postgres_url), StoreLedger(postgres_url)
    connection = await lost.connect()
    with suppress(LedgerUnavailable):
        async with connection.transaction() as silent:
            await silent.execute(sa.text("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE"))
            other = await ledger.connect()
            assert await other.apply(of_source("other", "room_a"))
            await other.aclose()
    await connection.aclose()
    await ledger.aclose()


@pytest.mark.parametrize(
    "setting", ["idle_in_transaction_session_timeout", "tcp_user_timeout", "tcp_keepalives_idle", "lock_timeout"]
)
async def test_a_writer_tells_the_server_how_long_it_may_be_silent(postgres_url, setting):
    """By itself a server believes in a lost client for two hours."""
    ledger = StoreLedger(postgres_url)
    async with ledger.writer() as conn:
        assert (await conn.exec_driver_sql(f"SHOW {setting}")).scalar_one() in ("1min", "15", "60000", "20s")
    await ledger.aclose()


async def test_what_is_waited_for_briefly_leaves_the_sessions_own_patience_as_it_was(postgres_url):
    """The server's own is without an end: the rest of a batch would wait for a table until its answer is overdue."""
    ledger = StoreLedger(postgres_url)
    async with ledger.writer() as conn:
        async with locks.briefly(conn):
            assert (await conn.exec_driver_sql("SHOW lock_timeout")).scalar_one() == "1s"
        assert (await conn.exec_driver_sql("SHOW lock_timeout")).scalar_one() == "20s"
    await ledger.aclose()


async def test_a_table_that_is_held_is_one_line_to_who_reads_and_who_writes(postgres_url, monkeypatch):
    """VACUUM FULL, or an ALTER TABLE that waits: what is waited for, for how long, and what is to be done."""
    monkeypatch.setattr(engines, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(connection_module, "LOCK_SECONDS", 0.2)
    ledger = StoreLedger(postgres_url)
    await (await ledger.connect()).aclose()
    lost = await gone_in_its_transaction(postgres_url, "LOCK TABLE sums IN ACCESS EXCLUSIVE MODE")
    for opened in (ledger.reader, ledger.writer):
        with pytest.raises(LedgerUnavailable, match=r"lock timeout .*held a table .* 20 s; find it in pg_stat"):
            async with opened() as conn:
                await conn.execute(sa.select(schema.sums))
    with pytest.raises(LedgerUnavailable, match="lock timeout"):
        await prune(ledger, Pruning(START, sums=True), lambda: START, lambda _: None)
    await lost.close()
    await ledger.aclose()


async def test_a_server_that_takes_too_long_is_one_line(postgres_url, monkeypatch):
    """The driver's own fault says nothing at all."""
    ledger = StoreLedger(postgres_url)
    await (await ledger.connect()).aclose()
    monkeypatch.setattr(engines, "ANSWER_SECONDS", 1.0)
    hurried = StoreLedger(postgres_url)
    for opened in (hurried.reader, hurried.writer):
        with pytest.raises(LedgerUnavailable, match=r"did not answer in time \(a server has 5 s .* 30 s"):
            async with opened() as conn:
                await conn.execute(sa.select(sa.func.pg_sleep(30)))
    await hurried.aclose()
    await ledger.aclose()


async def test_a_timeout_that_is_not_the_drivers_stays_what_it_is(postgres_url):
    """Whoever reads may wait for something else."""
    ledger = StoreLedger(postgres_url)
    await (await ledger.connect()).aclose()
    with pytest.raises(TimeoutError):
        async with ledger.reader():
            raise TimeoutError
    await ledger.aclose()
