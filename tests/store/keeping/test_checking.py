"""Is the ledger whole? What is wrong is named; what is right is not complained of."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa

from livekit_tokens.core.ledger import Source
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping.checking import check
from livekit_tokens.store.keeping.tending import vacuum
from livekit_tokens.store.schema import parts, records, sums
from tests.store.batches import START, batch, part, record

DAY = 86_400_000_000


async def look(ledger: StoreLedger) -> dict[str, tuple[str, str]]:
    return {found.subject: (found.state, found.told) async for found in check(ledger, lambda _done, _of: None)}


@pytest.fixture
async def filled(ledger, connection):
    """Records of three days: priced or not, failed, estimated, of Whisper."""
    told = [
        record(),
        record(at=START + DAY, success=False, units={}),
        record(at=START + 2 * DAY, provenance="estimated", units={"audio_ms": 1500}, informational={"input_audio": 9}),
    ]
    assert await connection.apply(batch(*told, parts=[part()]))
    return ledger


async def test_a_whole_ledger_has_no_fault(filled):
    """The sums are compared with their records, whatever these hold."""
    found = await look(filled)

    assert {state for state, _ in found.values()} == {"ok"}
    assert found["sums"][1] == "equal to their records in all 3 days that have them"


@pytest.mark.parametrize("column", ["input_text", "requests", "unpriced_requests", "info_input_audio", "output_cost"])
async def test_a_sum_that_differs_from_its_records_is_named(filled, column):
    """By however little, and in whichever column."""
    async with filled.writer() as conn:
        await conn.execute(sa.update(sums).where(sums.c.first_at == START + DAY).values({column: sums.c[column] + 1}))

    state, told = (await look(filled))["sums"]

    assert state == "fault"
    assert told.startswith("1 differ from their records, the first: 0a0a")
    assert "agent gpt-realtime" in told


async def test_a_record_that_is_missing_is_seen_in_its_sum(filled):
    async with filled.writer() as conn:
        await conn.execute(sa.delete(records).where(records.c.at == START + DAY))

    assert (await look(filled))["sums"][0] == "fault"


async def test_records_without_their_part_are_counted(filled):
    """No report would show them."""
    async with filled.writer() as conn:
        await conn.execute(sa.delete(parts))

    assert (await look(filled))["owners"] == ("fault", "3 records without their part, 3 sums without their part")


async def test_a_damaged_file_is_told(sqlite_url, tmp_path):
    """A page that somebody wrote over."""
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    assert await connection.apply(batch(*[record(at=START + n) for n in range(500)], parts=[part()]))
    await connection.aclose()
    with sqlite3.connect(tmp_path / "ledger.db") as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root, size = (
            raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'records_by_time'").fetchone()[0],
            4096,
        )
    with (tmp_path / "ledger.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)

    try:
        state = (await look(ledger))["integrity"][0]
    except LedgerUnavailable as fault:
        state = "fault" if "malformed" in str(fault) else str(fault)
    assert state == "fault"


async def test_a_ledger_that_others_may_read_is_told(sqlite_url, tmp_path):
    ledger = StoreLedger(sqlite_url)
    await (await ledger.connect()).aclose()
    (tmp_path / "ledger.db").chmod(0o644)

    state, told = (await look(ledger))["rights"]

    assert state == "fault"
    assert told.startswith(f"others than their owner may read {tmp_path / 'ledger.db'}")


async def test_a_vacuum_gives_the_space_back(filled, connection):
    """And changes nothing else."""
    before = await look(filled)
    async with filled.writer() as conn:
        await conn.exec_driver_sql("CREATE TABLE large (text TEXT)")
        await conn.execute(sa.text("INSERT INTO large VALUES (:text)"), {"text": "x" * 1_000_000})
        await conn.exec_driver_sql("DROP TABLE large")

    done = await vacuum(filled)

    if filled.address.__class__.__name__ == "SqliteAddress":
        assert done.before - done.after >= 1_000_000
    assert await look(filled) == before


async def test_years_without_usage_are_not_looked_through(filled, connection):
    """A record of 1970, a usual slip, is one day more to compare."""
    slip = batch(record(at=5), source=Source("slip", "h", 1, START), first_seq=99)
    assert await connection.apply(slip)
    steps: list[tuple[int, int]] = []
    found = [finding async for finding in check(filled, lambda done, of: steps.append((done, of)))]
    assert {finding.state for finding in found} == {"ok"}
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


async def test_a_day_that_has_lost_its_sums_is_seen(filled):
    """Also the last one: its records are still there."""
    async with filled.writer() as conn:
        await conn.execute(sa.delete(sums).where(sums.c.first_at == START + 2 * DAY))
    state, told = (await look(filled))["sums"]
    assert (state, told[:8]) == ("fault", "1 differ")
