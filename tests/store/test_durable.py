"""What is committed is on the disk, and whether a record is there: what the drain asks before anything goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from livekit_tokens.core import spool
from livekit_tokens.core.drain import SpoolDrain
from livekit_tokens.core.takeover import take_over
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.store.address import SqliteAddress
from livekit_tokens.store.connection import StoreLedger
from tests.core.makers import a_part, a_record, a_recorder
from tests.store.batches import OTHER_KEY, SECOND, SOURCE, START, batch, part, record


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which files were synced, in their order, and what was removed after them."""
    seen: list[Path] = []
    really_sync, really_rename = os.fsync, Path.rename

    def fsync(fd: int) -> None:
        seen.append(Path(f"/proc/self/fd/{fd}").readlink())
        really_sync(fd)

    def rename(path: Path, to: Path) -> Path:
        seen.append(Path(to))
        return really_rename(path, to)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    return seen


async def test_what_is_applied_is_on_the_disk_once_that_is_asked_for(ledger, connection, synced):
    """SQLite's log is synced, which a commit alone does not wait for; PostgreSQL's server has written its own."""
    if isinstance(ledger.address, SqliteAddress):
        await connection.apply(batch(record(), parts=[part()]))
        await connection.make_durable(SOURCE.id)
        assert [path.name for path in synced] == [f"{ledger.address.path.name}-wal", ledger.address.path.parent.name]
        return
    await connection._conn.exec_driver_sql("SET synchronous_commit = off")
    await connection._conn.commit()
    await connection.apply(batch(record(), parts=[part()]))
    written = await _place(connection, "pg_current_wal_insert_lsn()")
    await connection.make_durable(SOURCE.id)
    assert await _place(connection, "pg_current_wal_flush_lsn()") >= written


async def _place(connection, function: str) -> int:
    """Of the server's log, in bytes."""
    found = (await connection._conn.exec_driver_sql(f"SELECT {function}")).scalar_one()
    await connection._conn.rollback()
    return found


async def test_a_disk_that_refuses_it_says_so(ledger, connection, monkeypatch):
    """Nothing is removed then."""
    await connection.apply(batch(record(), parts=[part()]))
    if isinstance(ledger.address, SqliteAddress):

        def refused(fd: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", refused)
    else:
        await connection._driver.close()
    with pytest.raises(LedgerUnavailable):
        await connection.make_durable(SOURCE.id)
    assert connection.stale()


async def test_records_that_are_not_there_are_told_from_those_that_are(connection):
    """By number, part and time, which together are a record's key: others may have the number."""
    await connection.apply(batch(record(at=START + 1), record(at=START + 2), parts=[part()]))
    there = [(1, record(at=START + 1)), (2, record(at=START + 2))]
    assert await connection.lacks(SOURCE.id, there) == 0
    others = [(2, record(at=START + SECOND)), (3, record(at=START + 3)), (1, record(OTHER_KEY, at=START + 1))]
    assert await connection.lacks(SOURCE.id, [*there, *others]) == 3
    for other in others:
        assert await connection.lacks(SOURCE.id, [other]) == 1


async def test_a_spool_goes_only_after_its_commits_are_on_the_disk(
    ledger: StoreLedger, synced: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that is open elsewhere keeps them in its log, which nobody else syncs."""
    root = tmp_path / "spools"
    dead = a_recorder(root)
    dead.put_part(a_part())
    dead.record(a_record())
    dead.disown()
    other = await ledger.connect()
    recovered = await take_over([root], ledger, replay_seconds=spool.NO_REPLAY)
    await other.aclose()
    assert (recovered.records, recovered.removed) == (1, 1)
    names = [path.name for path in synced]
    gone = names.index(f".gone-{dead.folder.name}")
    if isinstance(ledger.address, SqliteAddress):
        assert f"{ledger.address.path.name}-wal" in names[:gone]


async def test_a_ledger_restored_in_place_gets_back_what_a_quiet_process_had_brought(
    ledger: StoreLedger, tmp_path: Path
) -> None:
    """Its next drain brings nothing new, and looks where the ledger has it to."""
    recorder = a_recorder(tmp_path / "spools")
    recorder.put_part(a_part())
    recorder.record(a_record())
    connection = await ledger.connect()
    drain = SpoolDrain(recorder.folder, recorder.source, connection)
    await drain.drain()
    async with ledger.writer() as conn:
        for table in ("records", "sums", "parts", "sources"):
            await conn.execute(sa.text(f"DELETE FROM {table}"))
    assert (await drain.drain()).records == 1
    await connection.aclose()
