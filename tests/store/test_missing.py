"""What the ledger knows of records that were lost, and of calls that nobody ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from livekit_tokens.core.findings import Finding
from livekit_tokens.core.ledger import Batch
from livekit_tokens.domain.sessions import SILENT, ended
from livekit_tokens.domain.times import MINUTE
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.missing import look_at_missing
from tests.store.batches import OTHER_KEY, SOURCE, START, batch, part, record

ELSEWHERE = replace(SOURCE, id="source-2", host="pod-7f")


async def filled(url: str, *batches: Batch) -> str:
    ledger = StoreLedger(url, clock=lambda: START)
    connection = await ledger.connect()
    for each in batches:
        assert await connection.apply(each)
    await connection.aclose()
    await ledger.aclose()
    return url


async def found_in(url: str, after: int, *spools: str) -> dict[str, Finding]:
    """So long after what the ledger was last told, on the host of SOURCE."""
    look = look_at_missing(url, SOURCE.host, spools, START + after, stale_after=5 * MINUTE)
    return {finding.subject: finding for finding in await asyncio.to_thread(list, look)}


async def test_records_that_are_counted_as_lost_are_told_with_their_hosts(database_url):
    """For good: nobody will bring them."""
    lost = (batch(record(), parts=[part()], lost=3), batch(source=ELSEWHERE, lost=1_000))
    losses = (await found_in(await filled(database_url, *lost), 0))["losses"]
    assert (losses.state, losses.told) == (
        "note",
        "1,003 records were lost before they came here, of 2 processes on host, pod-7f",
    )


async def test_a_ledger_that_lacks_nothing_says_so(database_url):
    """A call that goes on has its process, and one that has ended needs none."""
    closed = ended(part(OTHER_KEY), START, "done")
    url = await filled(database_url, batch(record(), parts=[part()]), batch(parts=[closed], source=ELSEWHERE))
    found = await found_in(url, 2 * SILENT, SOURCE.id)
    assert {subject: finding.state for subject, finding in found.items()} == {"losses": "ok", "open calls": "ok"}


async def test_a_call_whose_spool_is_gone_from_this_host_is_told(database_url):
    """Nobody can end it any more; a moment ago it may still have been on its way."""
    url = await filled(database_url, batch(record(), parts=[part()]))
    states = [(await found_in(url, minutes * MINUTE))["open calls"].state for minutes in (4, 6)]
    assert states == ["ok", "note"]


async def test_a_call_of_another_host_that_has_long_been_silent_is_told(database_url):
    """Its process is dead, or cut off: its spool is not here to say which."""
    url = await filled(database_url, batch(parts=[part()], source=ELSEWHERE))
    assert (await found_in(url, SILENT))["open calls"].state == "ok"
    told = (await found_in(url, SILENT + MINUTE))["open calls"].told
    assert told.startswith(
        "open, and nothing comes of them any more: 1 part of 1 process on pod-7f, the last at 2025-06-15T"
    )


async def test_a_ledger_that_is_not_there_is_not_made(database_url):
    """It is told of by the look at the ledger itself."""
    assert {finding.state for finding in (await found_in(database_url, 0)).values()} == {"ok"}
