"""What doctor tells of clocks that were ahead."""

from __future__ import annotations

import asyncio

from livekit_tokens.core.findings import Finding
from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.times import MINUTE, rfc3339
from livekit_tokens.store.clocks import look_at_clocks
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping import removal
from livekit_tokens.store.keeping.removal import Pruning
from tests.store.batches import START, batch, part, record


async def looked(url: str, now: int) -> list[Finding]:
    return await asyncio.to_thread(lambda: list(look_at_clocks(url, now)))


async def test_what_is_of_the_future_is_told(sqlite_url):
    """A record, and a pruning: with what it may have removed."""
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    assert await connection.apply(batch(record(at=START), parts=[part()]))
    await connection.aclose()
    assert [finding.state for finding in await looked(sqlite_url, START + MINUTE)] == ["ok"]
    async with ledger.writer() as conn:
        await removal.write_down(conn, Pruning(START + 310 * DAY), START + 400 * DAY, daily=True)
    of_record, of_pruning = await looked(sqlite_url, START - 2 * DAY)
    assert rfc3339(START) in of_record.told
    assert rfc3339(START + 310 * DAY) in of_pruning.told
    assert "NTP" in of_pruning.todo


async def test_a_clock_that_differs_from_the_servers_is_a_fault(postgres_url):
    """Retention goes by the earlier of both."""
    ledger = StoreLedger(postgres_url)
    await (await ledger.connect()).aclose()
    await ledger.aclose()
    (found,) = await looked(postgres_url, START)
    assert (found.state, "behind the server's" in found.told) == ("fault", True)


async def test_of_a_ledger_that_is_not_there_nothing_is_told(sqlite_url):
    assert [finding.state for finding in await looked(sqlite_url, START)] == ["ok"]
