"""Demo traffic in a ledger: as the drain would have written it."""

from __future__ import annotations

import pytest

from livekit_tokens.core.ledger import Source
from livekit_tokens.core.reports import open_reports
from livekit_tokens.demo import filling
from livekit_tokens.demo.filling import Filled, fill
from livekit_tokens.demo.traffic import traffic
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.periods import DAY, Period
from livekit_tokens.domain.times import to_datetime
from livekit_tokens.domain.totals import Totals, totals_of
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.queries import StoredUsage

END = 1_795_000_000_000_000
YEAR = Period(END - 365 * DAY, END)
SOURCE = Source("demo-1", "demo", 0, YEAR.since)


@pytest.fixture
async def ledger(database_url):
    made = StoreLedger(database_url)
    yield made
    await made.aclose()


async def test_a_filled_ledger_reports_what_the_traffic_adds_up_to(ledger, monkeypatch):
    """Through the drain's own ingest, batch after batch: the sums are the records', the parts are there."""
    monkeypatch.setattr(filling, "BATCH_RECORDS", 400)
    calls = list(traffic(YEAR, 1_500, seed=3))
    connection = await ledger.connect()
    steps = []
    assert await fill(connection, SOURCE, calls, steps.append) == Filled(len(calls), 1_500)
    assert len(steps) >= 3
    report = await open_reports(StoredUsage(ledger), now=lambda: END).report(since=to_datetime(YEAR.since))
    assert report.totals == sum((totals_of(record) for call in calls for record in call.records), Totals())
    assert report.sessions == len(calls)
    await connection.aclose()


async def test_the_same_traffic_is_never_written_twice(ledger):
    """The same seed again is refused as a whole: nothing is added to what is there."""
    connection = await ledger.connect()
    await fill(connection, SOURCE, traffic(YEAR, 50, seed=3))
    with pytest.raises(LedgerUnavailable, match="--seed"):
        await fill(connection, SOURCE, traffic(YEAR, 50, seed=3))
    assert not await connection.is_empty()
    await connection.aclose()


async def test_a_new_ledger_is_empty(ledger):
    """Until somebody writes."""
    connection = await ledger.connect()
    assert await connection.is_empty()
    await connection.aclose()
