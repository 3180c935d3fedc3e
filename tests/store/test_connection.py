"""How the ledger is opened, held, and given up when its database is not what it should be."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from livekit_tokens.core.ledger import Ledger, LedgerConnection
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.store import engines
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.writing import StoreConnection
from tests.store.batches import batch, part, record
from tests.waiting import PATIENCE_SECONDS

END_THE_OTHERS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


def ledger_at(path: Path) -> StoreLedger:
    return StoreLedger(f"sqlite:///{path}")


def is_one_line(fault: pytest.ExceptionInfo[LedgerUnavailable], *words: str) -> bool:
    text = str(fault.value)
    return "\n" not in text and all(word in text for word in words) and fault.value.__cause__ is not None


def test_the_store_is_a_ledger():
    """As `core.ledger` wants it; mypy reads this."""
    _ledger: type[Ledger] = StoreLedger
    _connection: type[LedgerConnection] = StoreConnection


async def test_files_and_folders_are_for_their_owner_only(tmp_path):
    """Who called whom is nobody else's business: folder 0700, file and its WAL 0600, whatever the umask."""
    before = os.umask(0)
    try:
        ledger = ledger_at(tmp_path / "a" / "b" / "ledger.db")
        connection = await ledger.connect()
        await connection.apply(batch(record(), parts=[part()]))
    finally:
        os.umask(before)

    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = sorted((tmp_path / "a" / "b").iterdir())
    assert [file.name for file in files] == ["ledger.db", "ledger.db-shm", "ledger.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await connection.aclose()


async def test_sqlite_runs_in_wal_mode_with_normal_synchronous(sqlite_url):
    """Readers and a writer side by side; a power cut's lost commits follow again from the spool."""
    connection = await StoreLedger(sqlite_url).connect()
    async with connection.transaction() as conn:
        asked = [
            (await conn.exec_driver_sql(f"PRAGMA {p}")).scalar()
            for p in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert asked == ["wal", 1, 5000]
    await connection.aclose()


async def test_sqlites_log_is_brought_into_the_file_seldom(sqlite_url, tmp_path):
    """Not after every batch, which in a large ledger would write each page of its indexes that the batch touched."""
    connection = await StoreLedger(sqlite_url).connect()
    async with connection.transaction() as conn:
        await conn.exec_driver_sql("CREATE TABLE much (some BLOB)")
    file = tmp_path / "ledger.db"
    before = file.stat().st_size
    for _ in range(8):
        async with connection.transaction() as conn:
            await conn.exec_driver_sql("INSERT INTO much VALUES (zeroblob(1000000))")
    assert file.stat().st_size == before
    await connection.aclose()
    assert file.stat().st_size > before + 8_000_000


async def test_a_locked_database_is_unavailable_in_bounded_time(sqlite_url, tmp_path, monkeypatch):
    """Another process holds the write lock: the drain hears so and tries again later; reading still works."""
    monkeypatch.setattr(engines, "BUSY_SECONDS", 0.3)
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    began = time.monotonic()
    with pytest.raises(LedgerUnavailable) as fault:
        await connection.apply(batch(record(), parts=[part()]))
    assert 0.2 < time.monotonic() - began < PATIENCE_SECONDS
    assert is_one_line(fault, "database is locked", str(tmp_path))

    async with ledger.reader() as conn:
        assert (await conn.execute(sa.text("SELECT COUNT(*) FROM records"))).scalar() == 0
    other.execute("ROLLBACK")
    again = await ledger.connect()
    assert await again.apply(batch(record(), parts=[part()]))
    await again.aclose()


async def test_a_row_locked_in_postgres_is_unavailable_in_bounded_time(postgres_url, monkeypatch):
    """A maintenance job holds the source's row: the answer is waited for no longer than ANSWER_SECONDS."""
    ledger = StoreLedger(postgres_url)
    patient = await ledger.connect()
    first = batch(record(), parts=[part()])
    assert await patient.apply(first)
    await patient.aclose()
    monkeypatch.setattr(engines, "ANSWER_SECONDS", 2.0)
    hurried = StoreLedger(postgres_url)
    connection = await hurried.connect()

    async with ledger.writer() as conn:
        await conn.execute(sa.text("UPDATE sources SET host = 'x'"))
        with pytest.raises(LedgerUnavailable) as fault:
            await connection.apply(batch(record(), before=first.after))
        assert is_one_line(fault, "did not answer in time")
    assert connection.stale()
    await hurried.aclose()
    await ledger.aclose()


async def test_a_deleted_file_makes_the_connection_stale(sqlite_url, tmp_path):
    """SQLite would go on writing into a file that no path leads to."""
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    first = batch(record(), parts=[part()])
    assert await connection.apply(first)
    assert not connection.stale()

    (tmp_path / "ledger.db").unlink()
    assert connection.stale()
    await connection.aclose()

    fresh = await ledger.connect()
    assert not fresh.stale()
    assert await fresh.checkpoint("source-1") is None
    assert await fresh.apply(first)
    await fresh.aclose()


async def test_a_replaced_file_makes_the_connection_stale(sqlite_url, tmp_path):
    """A backup was moved into its place."""
    path = tmp_path / "ledger.db"
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    backup = sqlite3.connect(tmp_path / "backup.db")
    source = sqlite3.connect(path)
    source.backup(backup)
    source.close()
    backup.close()
    assert await connection.apply(batch(record(), parts=[part()]))
    (tmp_path / "backup.db").replace(path)

    assert connection.stale()
    await connection.aclose()
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    fresh = await ledger.connect()
    assert await fresh.checkpoint("source-1") is None
    await fresh.aclose()


async def test_a_reader_never_makes_a_ledger(tmp_path):
    """A report on a mistyped DATABASE_URL must not show an empty ledger, nor leave one."""
    with pytest.raises(LedgerUnavailable, match=r"no ledger at .*x\.db yet"):
        async with ledger_at(tmp_path / "no" / "x.db").reader():
            pass
    assert list(tmp_path.iterdir()) == []


async def test_a_reader_on_an_empty_database_says_that_there_is_no_ledger_yet(ledger):
    """PostgreSQL answers, but nothing was ever written."""
    if ledger.address.__class__.__name__ == "SqliteAddress":
        ledger.address.path.touch()
    with pytest.raises(LedgerUnavailable, match=r"no ledger at .* yet"):
        async with ledger.reader():
            pass


async def test_a_reader_sees_one_snapshot(ledger, connection):
    """Two queries of one report agree, whatever is written between them."""
    first = batch(record(), parts=[part()])
    assert await connection.apply(first)
    count = sa.text("SELECT SUM(requests) FROM sums")

    async with ledger.reader() as conn:
        assert (await conn.execute(count)).scalar() == 1
        assert await connection.apply(batch(record(), before=first.after))
        assert (await conn.execute(count)).scalar() == 1
    async with ledger.reader() as conn:
        assert (await conn.execute(count)).scalar() == 2


async def test_a_reader_cannot_write(ledger, connection):
    """Reports have no business changing the ledger."""
    with pytest.raises(LedgerUnavailable, match=r"read-?only"):
        async with ledger.reader() as conn:
            await conn.execute(sa.text("DELETE FROM sums"))


async def test_postgres_compiles_no_question(postgres_url):
    """Made for hours of work: what a report asks is answered sooner than it is compiled."""
    ledger = StoreLedger(postgres_url)
    await (await ledger.connect()).aclose()
    async with ledger.reader() as conn:
        assert (await conn.exec_driver_sql("SHOW jit")).scalar_one() == "off"
    await ledger.aclose()


async def test_a_readers_own_faults_are_its_own(ledger, connection):
    """A report that cannot write its output is not told that the database is gone."""
    with pytest.raises(BrokenPipeError):
        async with ledger.reader():
            raise BrokenPipeError


async def test_a_writer_commits_at_the_end_or_not_at_all(ledger, connection):
    """For repricing, pruning, erasing."""
    assert await connection.apply(batch(record(), parts=[part()]))

    async def erase(fault: Exception | None) -> None:
        async with ledger.writer() as conn:
            await conn.execute(sa.text("UPDATE parts SET user_id = NULL"))
            if fault:
                raise fault

    async def user() -> str | None:
        async with ledger.reader() as conn:
            return (await conn.execute(sa.text("SELECT user_id FROM parts"))).scalar()

    with pytest.raises(ValueError, match="no"):
        await erase(ValueError("no"))
    assert await user() == "ann"
    await erase(None)
    assert await user() is None


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 40])
async def test_a_file_that_is_no_database_is_unavailable(tmp_path, content):
    """With what to do about it."""
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(LedgerUnavailable) as fault:
        await ledger_at(path).connect()
    assert is_one_line(fault, "not a database", "move it away")
    assert path.read_bytes() == content


async def test_a_damaged_file_is_unavailable(sqlite_url, tmp_path):
    """Damage in the middle is met when it is read."""
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    for number in range(20):
        before = await connection.checkpoint("source-1")
        assert await connection.apply(batch(*(record() for _ in range(200)), before=before, parts=[part()])), number
    await connection.aclose()
    path = tmp_path / "ledger.db"
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\xff" * (len(content) - 4096 * 2)
    path.write_bytes(content)

    async def go_on() -> None:
        connection = await ledger.connect()
        await connection.apply(batch(record(), before=before, parts=[part()]))

    with pytest.raises(LedgerUnavailable) as fault:
        await go_on()
    assert is_one_line(fault, "malformed", "restore a backup")


async def test_a_full_disk_is_unavailable_and_loses_nothing_of_before(sqlite_url):
    """SQLite's own limit of pages stands in for the disk's."""
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    first = batch(record(), parts=[part()])
    assert await connection.apply(first)
    await connection._conn.exec_driver_sql("PRAGMA max_page_count = 40")
    await connection._conn.rollback()

    with pytest.raises(LedgerUnavailable) as fault:
        await connection.apply(batch(*(record() for _ in range(5000)), before=first.after))

    assert is_one_line(fault, "full", "free some space")
    again = await ledger.connect()
    assert await again.checkpoint("source-1") == first.after
    await again.aclose()


async def test_a_parent_that_is_a_file_is_unavailable(tmp_path):
    """The path cannot be made."""
    (tmp_path / "file").touch()
    with pytest.raises(LedgerUnavailable) as fault:
        await ledger_at(tmp_path / "file" / "x.db").connect()
    assert is_one_line(fault, str(tmp_path / "file"))


async def test_a_server_that_refuses_is_unavailable_without_the_password():
    """Nobody listens there."""
    with pytest.raises(LedgerUnavailable) as fault:
        await StoreLedger("postgresql://u:s3cret@127.0.0.1:1/d").connect()
    assert is_one_line(fault, "postgresql://127.0.0.1:1/d")
    assert "s3cret" not in str(fault.value)


async def test_a_database_that_does_not_exist_is_unavailable(postgres_url):
    """The server's own words."""
    with pytest.raises(LedgerUnavailable) as fault:
        await StoreLedger(postgres_url + "_nowhere").connect()
    assert is_one_line(fault, "does not exist")


async def test_a_connection_that_the_server_ended_is_stale_and_its_next_use_unavailable(postgres_url):
    """A failover: the old connection is given up, a new one works."""
    ledger = StoreLedger(postgres_url)
    connection = await ledger.connect()
    first = batch(record(), parts=[part()])
    assert await connection.apply(first)
    async with ledger.writer() as conn:
        await conn.execute(END_THE_OTHERS)

    with pytest.raises(LedgerUnavailable) as fault:
        await connection.apply(batch(record(), before=first.after))
    assert is_one_line(fault)
    assert connection.stale()
    again = await ledger.connect()
    assert await again.apply(batch(record(), before=first.after))
    async with ledger.reader() as conn:
        assert (await conn.execute(sa.text("SELECT SUM(requests) FROM sums"))).scalar() == 2
    await again.aclose()
    await ledger.aclose()


async def test_a_reader_that_was_pooled_before_a_failover_is_replaced(postgres_url):
    """A dashboard's connections are looked at before they are used again."""
    ledger = StoreLedger(postgres_url)
    await (await ledger.connect()).aclose()
    async with ledger.reader() as conn:
        pass
    async with ledger.writer() as conn:
        await conn.execute(END_THE_OTHERS)
    async with ledger.reader() as conn:
        assert (await conn.execute(sa.text("SELECT COUNT(*) FROM sources"))).scalar() == 0
    await ledger.aclose()


async def test_closing_twice_is_harmless(connection):
    """The drain and the process's end may both close it."""
    await connection.aclose()
    await connection.aclose()
    assert connection.stale()


def test_an_open_connection_does_not_keep_a_process_alive(tmp_path):
    """SQLite's driver works in a thread; a process that ends without closing must still end."""
    code = f"""
import asyncio
from livekit_tokens.store.connection import StoreLedger
async def main():
    global kept
    kept = await StoreLedger("sqlite:///{tmp_path}/x.db").connect()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


async def test_a_folder_that_moves_with_its_ledger_is_stale(tmp_path):
    """The path leads nowhere now."""
    ledger = ledger_at(tmp_path / "a" / "x.db")
    connection = await ledger.connect()
    await asyncio.to_thread(shutil.move, tmp_path / "a", tmp_path / "b")
    assert connection.stale()
    await connection.aclose()


async def test_a_second_connection_leaves_the_locks_of_the_first_alone(sqlite_url, tmp_path):
    """Drain and takeover have a connection each. Were the file opened and closed beside SQLite, the first one's locks
    would be gone, and the next process that closes its own would remove the log under it: a damaged ledger."""
    ledger = StoreLedger(sqlite_url)
    first = await ledger.connect()
    assert await first.apply(batch(record(), parts=[part()]))
    await (await ledger.connect()).aclose()
    look_and_leave = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM records').fetchone()"
    )
    other = [sys.executable, "-c", look_and_leave, str(tmp_path / "ledger.db")]
    await asyncio.to_thread(subprocess.run, other, check=True, timeout=60)
    assert (tmp_path / "ledger.db-wal").exists()
    await first.aclose()
    await ledger.aclose()
