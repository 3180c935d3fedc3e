"""What waits for whom on PostgreSQL: each of these would be wrong without its lock, and only when two come at once."""

from __future__ import annotations

import asyncio
from types import ModuleType

import asyncpg
import sqlalchemy as sa

from livekit_tokens.core.ledger import Batch, Source
from livekit_tokens.core.repricing import Asked
from livekit_tokens.domain.periods import Period
from livekit_tokens.store import ingest, once, schema
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping.erasing import erase
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
