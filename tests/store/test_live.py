"""What goes on, as the ledger tells it: also of processes that have died with their spools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.core.reports import Reports, open_reports
from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.sessions import SILENT, Part, ended
from livekit_tokens.domain.times import MINUTE, to_datetime
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.queries import StoredUsage
from tests.store.batches import START, part, record


@dataclass
class Fleet:
    """A ledger whose clock stands where it is put, and processes that write into it."""

    url: str
    now: int = START

    async def brings(self, name: str, *records: UsageRecord, parts: tuple[Part, ...] = (), place: int = 0) -> None:
        before = Checkpoint(1, place, place) if place else None
        numbered = tuple(enumerate(records, place + 1))
        after = Checkpoint(1, place + len(records), place + len(records))
        ledger = StoreLedger(self.url, clock=lambda: self.now)
        connection = await ledger.connect()
        assert await connection.apply(Batch(Source(name, name, 1, START), before, after, parts, (), numbered))
        await connection.aclose()
        await ledger.aclose()


@pytest.fixture
def fleet(database_url: str) -> Fleet:
    return Fleet(database_url)


@pytest.fixture
async def reports(fleet: Fleet) -> AsyncIterator[Reports]:
    ledger = StoreLedger(fleet.url)
    yield open_reports(StoredUsage(ledger), now=lambda: fleet.now)
    await ledger.aclose()


ALIVE, LOST = "0c" * 16, "0d" * 16
CALLS = {ALIVE: part(ALIVE, "room_alive", room="a"), LOST: part(LOST, "room_lost", room="b")}


async def test_a_call_of_a_silent_process_is_over_since_it_was_last_heard_of(fleet: Fleet, reports: Reports):
    """It is not live and counts no minutes any more; what it has spent is in every sum."""
    for name, key in (("alive", ALIVE), ("lost", LOST)):
        await fleet.brings(name, record(key), parts=(CALLS[key],))
    fleet.now = START + 2 * DAY
    await fleet.brings("alive", record(ALIVE, at=fleet.now), place=1)
    fleet.now += MINUTE

    live = await reports.live()
    lost = await reports.session("room_lost")
    report = await reports.report(to_datetime(START), to_datetime(fleet.now))

    assert ([line.session.session_id for line in live.sessions], live.silent) == (["room_alive"], 1)
    assert live.sessions[0].running[0].heard_at == fleet.now - MINUTE
    assert (lost.status, lost.close_reason, lost.ended_at) == ("abandoned", "not_heard_of", to_datetime(START))
    assert report.totals.requests == 3
    assert report.call_time == 2 * DAY + MINUTE
    assert {line.session.status for line in (await reports.sessions(to_datetime(START))).sessions} == {
        "open",
        "abandoned",
    }


async def test_a_late_spool_corrects_what_was_held_of_its_process(fleet: Fleet, reports: Reports):
    """It goes on as soon as it is heard of, and ends as its own last line says."""
    await fleet.brings("lost", record(LOST), parts=(CALLS[LOST],))
    fleet.now = START + 2 * DAY
    assert (await reports.session("room_lost")).status == "abandoned"

    await fleet.brings("lost", record(LOST, at=fleet.now), place=1)
    assert ((await reports.session("room_lost")).status, (await reports.live()).silent) == ("open", 0)
    assert (await reports.live()).totals.requests == 2

    await fleet.brings("lost", parts=(ended(CALLS[LOST], START + MINUTE, "done"),), place=2)
    fleet.now += 2 * SILENT
    told = await reports.session("room_lost")
    assert (told.status, told.close_reason, told.ended_at) == ("closed", "done", to_datetime(START + MINUTE))


async def test_filters_choose_parts_and_what_of_their_usage_is_told(fleet: Fleet, reports: Reports):
    """By whose it is, or by what used it; a session of two users is each one's as far as it is theirs."""
    other = replace(CALLS[ALIVE], key=LOST, user="bob", tenant="t", tags={"env": "prod"})
    mine = record(ALIVE, agent="Anna")
    await fleet.brings("one", mine, record(ALIVE), record(LOST), parts=(CALLS[ALIVE], other))

    async def told(**filters: object) -> list[int]:
        (line,) = (await reports.live(**filters)).sessions
        return [part.summary.totals.requests for part in line.running]

    assert await told() == [2, 1]
    assert await told(user="ann") == [2]
    assert await told(tenant="t") == await told(tags={"env": "prod"}) == await told(user="bob") == [1]
    assert await told(agent="Anna") == [1]
    assert (await reports.live(agent="nobody")).sessions == ()
    assert (await reports.live(limit=1)).more is False
