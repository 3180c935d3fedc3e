"""Backups and restores, from and to both databases, with calls going on and with what lies beside a file."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections import Counter

import pytest
import sqlalchemy as sa

from livekit_tokens.core.ledger import Checkpoint, Source
from livekit_tokens.domain.errors import LedgerTooNew, LedgerUnavailable
from livekit_tokens.domain.periods import DAY
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping import copies
from livekit_tokens.store.keeping.checking import check
from livekit_tokens.store.keeping.copies import backup, restore
from livekit_tokens.store.keeping.erasing import erase
from livekit_tokens.store.schema import metadata, records, rolled_days, sources
from tests.store.batches import KEY, OTHER_KEY, START, batch, part, record
from tests.waiting import until

NOW = START + 86_400_000_000


def told(_count: int) -> None: ...


async def contents(ledger: StoreLedger) -> dict[str, list[tuple[object, ...]]]:
    async with ledger.reader() as conn:
        return {
            name: sorted((tuple(row) for row in await conn.execute(sa.select(table))), key=repr)
            for name, table in metadata.tables.items()
        }


@pytest.fixture
async def filled(database_url):
    """A ledger that was written a day ago, with every kind of value in it."""
    ledger = StoreLedger(database_url, clock=lambda: START)
    connection = await ledger.connect()
    closed = part(status="closed", ended_at=START + 5, tags={"of": "Zoë ⁂"}, room="'; DROP TABLE parts")
    rich = record(metadata={"a": 1, "b": "c"}, low={"input_text": 1}, high={}, quality_score=0.1, success=False)
    assert await connection.apply(batch(rich, record(idempotency_key="k"), parts=[closed]))
    await connection.aclose()
    yield ledger
    await ledger.aclose()


async def test_a_backup_is_a_ledger_with_the_same_contents(filled, tmp_path):
    """In one file, its owner's alone, that can be read where it lies."""
    file = tmp_path / "backups.db"
    done = await backup(filled, file, 0, told)

    assert (done.rows["records"], done.rows["parts"], done.rows["idempotency"]) == (2, 1, 1)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("backups", ".backups"))] == ["backups.db"]
    assert file.stat().st_mode & 0o777 == 0o600
    copy = StoreLedger(f"sqlite:///{file}")
    assert await contents(copy) == await contents(filled)
    assert not [finding async for finding in check(copy, lambda _d, _o: None) if finding.state != "ok"]


async def test_a_backup_goes_back_as_it_was(filled, tmp_path):
    """What was written after it is gone, and the sums are right."""
    before = await contents(filled)
    await backup(filled, tmp_path / "b.db", 0, told)
    connection = await filled.connect()
    assert await connection.apply(batch(record(), before=Checkpoint(1, 100, 2), parts=[part(OTHER_KEY)]))
    await connection.aclose()

    done = await restore(filled, tmp_path / "b.db", NOW, told, replace=True)

    assert done.rows["records"] == 2
    assert await contents(filled) == before


async def test_what_was_being_rolled_up_when_a_backup_was_taken_is_not_so_in_the_restored_ledger(filled, tmp_path):
    """Who was about it would go on, and write down a sum of what was there before the restore."""
    async with filled.writer() as conn:
        await conn.execute(sa.insert(rolled_days).values([(0, None, None), (DAY, 7, START)]))
    await backup(filled, tmp_path / "b.db", 0, told)
    await restore(filled, tmp_path / "b.db", NOW, told, replace=True)
    assert (await contents(filled))["rolled_days"] == [(0, None, None)]


async def test_a_ledger_moves_from_one_database_to_the_other(sqlite_url, postgres_url, tmp_path):
    """A backup of either goes into the other."""
    one, other = StoreLedger(sqlite_url, clock=lambda: START), StoreLedger(postgres_url)
    connection = await one.connect()
    assert await connection.apply(batch(record(metadata={"x": True}), parts=[part(tags={"a": "b"})]))
    await connection.aclose()
    await backup(one, tmp_path / "b.db", 0, told)

    await restore(other, tmp_path / "b.db", NOW, told)
    assert await contents(other) == await contents(one)

    await backup(other, tmp_path / "back.db", 0, told)
    again = StoreLedger(f"sqlite:///{tmp_path / 'again.db'}")
    await restore(again, tmp_path / "back.db", NOW, told)
    assert await contents(again) == await contents(one)
    for ledger in (one, other, again):
        await ledger.aclose()


async def test_a_restore_does_not_go_over_a_newer_or_a_living_ledger_unless_asked(filled, database_url, tmp_path):
    await backup(filled, tmp_path / "b.db", 0, told)
    newer = StoreLedger(database_url, clock=lambda: START + 10)
    connection = await newer.connect()
    assert await connection.apply(batch(record(), before=Checkpoint(1, 100, 2)))

    with pytest.raises(LedgerUnavailable, match="is newer"):
        await restore(filled, tmp_path / "b.db", NOW, told)
    with pytest.raises(LedgerUnavailable, match="is being written"):
        await restore(filled, tmp_path / "b.db", START, told)
    assert await connection.apply(batch(parts=[part("0d" * 16)], before=Checkpoint(1, 200, 3)))
    with pytest.raises(LedgerUnavailable, match="with a call open"):
        await restore(filled, tmp_path / "b.db", NOW, told)

    async with filled.reader() as conn:
        assert (await conn.execute(sa.select(sa.func.count()).select_from(records))).scalar_one() == 3
    await connection.aclose()
    await newer.aclose()


async def test_a_connection_that_was_open_over_a_restore_tells_its_parts_again(filled, tmp_path):
    """Its checkpoint is refused; what it knew of the ledger's parts it knows no longer, and no record is orphaned."""
    await backup(filled, tmp_path / "b.db", 0, told)
    connection = await filled.connect()
    first = batch(parts=[part(OTHER_KEY)], before=Checkpoint(1, 100, 2))
    assert await connection.apply(first)

    await restore(filled, tmp_path / "b.db", NOW, told, replace=True)

    assert not await connection.apply(batch(record(OTHER_KEY), before=first.after))
    assert await connection.checkpoint("source-1") == Checkpoint(1, 100, 2)
    assert await connection.apply(batch(record(OTHER_KEY), before=Checkpoint(1, 100, 2)))
    await connection.aclose()
    found = {finding.subject: finding.state async for finding in check(filled, lambda _d, _o: None)}
    assert found["owners"] == "ok"


async def test_what_lies_beside_a_ledger_that_is_gone_does_not_damage_the_restored_one(sqlite_url, tmp_path):
    """A -wal of the old file that stayed behind would be taken for the new one's."""
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    assert await connection.apply(batch(record(), parts=[part()]))
    await backup(ledger, tmp_path / "b.db", 0, told)
    assert await connection.apply(batch(record(), before=Checkpoint(1, 100, 1)))
    path = tmp_path / "ledger.db"
    kept = {tail: path.with_name(f"ledger.db{tail}").read_bytes() for tail in ("-wal", "-shm")}
    await connection.aclose()
    path.unlink()
    for tail, raw in kept.items():
        path.with_name(f"ledger.db{tail}").write_bytes(raw)

    await restore(StoreLedger(sqlite_url), tmp_path / "b.db", NOW, told)

    assert len((await contents(StoreLedger(sqlite_url)))["records"]) == 1
    assert "fault" not in {found.state async for found in check(StoreLedger(sqlite_url), lambda _d, _o: None)}


async def test_a_damaged_ledger_is_moved_away_with_its_wal(sqlite_url, tmp_path):
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    assert await connection.apply(batch(record(), parts=[part()]))
    await backup(ledger, tmp_path / "b.db", 0, told)
    await connection.aclose()
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 500)
    (tmp_path / "ledger.db-wal").write_bytes(b"left over")

    await restore(StoreLedger(sqlite_url), tmp_path / "b.db", NOW, told, replace=True)

    assert len((await contents(StoreLedger(sqlite_url)))["records"]) == 1
    aside = sorted(path.name.partition(".damaged-")[0] for path in tmp_path.glob("ledger.db*.damaged-*"))
    assert "ledger.db" in aside  # SQLite may have thrown what was beside it away itself


async def test_another_applications_database_is_not_written_over(sqlite_url, tmp_path):
    other = StoreLedger(f"sqlite:///{tmp_path / 'other.db'}")
    await (await other.connect()).aclose()
    await backup(other, tmp_path / "b.db", 0, told)
    with sqlite3.connect(tmp_path / "ledger.db") as conn:
        conn.execute("CREATE TABLE customers (name)")

    with pytest.raises(LedgerUnavailable, match="another application's"):
        await restore(StoreLedger(sqlite_url), tmp_path / "b.db", NOW, told, replace=True)


async def test_what_is_no_whole_backup_is_refused(filled, tmp_path):
    """And the ledger stays as it was."""
    before = await contents(filled)
    await backup(filled, tmp_path / "b.db", 0, told)
    whole = (tmp_path / "b.db").read_bytes()
    for name, raw in {"cut": whole[: len(whole) // 2], "text": b"x" * 9000, "empty": b""}.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(LedgerUnavailable, match="is no "):
            await restore(filled, tmp_path / name, NOW, told, replace=True)
    with pytest.raises(LedgerUnavailable, match="is no "):
        await restore(filled, tmp_path / "nothing", NOW, told, replace=True)
    with sqlite3.connect(tmp_path / "b.db") as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerTooNew):
        await restore(filled, tmp_path / "b.db", NOW, told, replace=True)

    assert await contents(filled) == before


async def test_a_backup_is_not_written_over_but_kept_as_many_times_as_asked(sqlite_url, tmp_path):
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    checkpoint = None
    for number in range(4):
        one = batch(record(at=START + number), before=checkpoint, parts=[part(KEY)])
        assert await connection.apply(one)
        checkpoint = one.after
        await backup(ledger, tmp_path / "b.db", 3, told)

    kept = {
        path.name: len((await contents(StoreLedger(f"sqlite:///{path}")))["records"]) for path in tmp_path.glob("b.db*")
    }
    assert kept == {"b.db": 4, "b.db.1": 3, "b.db.2": 2}
    with pytest.raises(LedgerUnavailable, match="is there already"):
        await backup(ledger, tmp_path / "b.db", 0, told)
    await connection.aclose()


@pytest.mark.parametrize("named", ["ledger.db", "link.db", "folder/../ledger.db", "ledger.db-wal", "older"])
async def test_the_ledger_is_no_place_for_its_backup(sqlite_url, tmp_path, named):
    """Under whatever name: it would be moved away, with the calls that are going on."""
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.db").symlink_to("ledger.db")

    (tmp_path / "older.1").hardlink_to(tmp_path / "ledger.db")

    with pytest.raises(LedgerUnavailable, match="is the ledger itself"):
        await backup(ledger, tmp_path / named, 2, told)
    assert not connection.stale()
    await connection.aclose()


async def test_a_backup_of_another_ledger_with_erasures_is_refused_over_one_with_its_own(filled, tmp_path):
    """Their digests are under other keys: nobody could be found again. The ledger stays as it was."""
    other = StoreLedger(f"sqlite:///{tmp_path / 'other.db'}")
    await (await other.connect()).aclose()
    for ledger in (filled, other):
        await erase(ledger, frozenset({"nobody"}), NOW, all_rooms=False, dry_run=False)
    await backup(other, tmp_path / "b.db", 0, told)
    before = await contents(filled)

    with pytest.raises(LedgerUnavailable, match="another ledger's"):
        await restore(filled, tmp_path / "b.db", NOW, told, replace=True)

    assert await contents(filled) == before
    assert not list(tmp_path.glob(".*"))


async def test_who_is_erased_while_a_backup_is_made_ready_does_not_come_back(filled, tmp_path, monkeypatch):
    """The restore ends, and nothing has changed; the next one knows of them."""
    await backup(filled, tmp_path / "b.db", 0, told)
    make_ready = copies._make_ready

    async def erased_meanwhile(copy, forgotten):
        await make_ready(copy, forgotten)
        await erase(filled, frozenset({"ann"}), NOW, all_rooms=False, dry_run=False)

    monkeypatch.setattr(copies, "_make_ready", erased_meanwhile)
    with pytest.raises(LedgerUnavailable, match="somebody was erased"):
        await restore(filled, tmp_path / "b.db", NOW, told, replace=True)
    monkeypatch.undo()
    assert "ann" not in repr(await contents(filled))

    await restore(filled, tmp_path / "b.db", NOW, told, replace=True)
    assert "ann" not in repr(await contents(filled))


async def write(ledger: StoreLedger, source: str, key: str, stop: asyncio.Event, written: Counter[str]) -> None:
    """As a drain does, a record a batch; `written` has how many by source, over all restores."""
    connection = await ledger.connect()
    of, checkpoint = Source(source, "host", 7, START), None
    while not stop.is_set():
        one = batch(record(key), before=checkpoint, parts=[part(key, user=source)], source=of)
        try:
            done = await connection.apply(one)
            checkpoint = one.after if done else await connection.checkpoint(source)
            written[source] += done
        except LedgerUnavailable:
            await connection.aclose()
            connection = await ledger.connect()
            checkpoint = await connection.checkpoint(source)
        await asyncio.sleep(0)
    await connection.aclose()


async def test_backups_and_restores_are_whole_while_others_write(filled, tmp_path):
    """Each backup is one moment's: as many records as its checkpoints say. So is the ledger after the restores."""
    stop, written = asyncio.Event(), Counter[str]()
    keys = {"w1": "1a" * 16, "w2": "1b" * 16}
    writers = [asyncio.create_task(write(filled, source, key, stop, written)) for source, key in keys.items()]

    async def both_wrote() -> None:
        before = written.copy()
        await until(lambda: all(written[source] >= before[source] + 5 for source in keys))

    seen = []
    for number in range(4):
        await both_wrote()
        seen.append((await backup(filled, tmp_path / f"{number}.db", 0, told)).rows["records"])
        await whole(StoreLedger(f"sqlite:///{tmp_path / f'{number}.db'}"))
    for number in (1, 3):
        restored = await restore(filled, tmp_path / f"{number}.db", NOW, told, replace=True)
        assert restored.rows["records"] == seen[number]
        await both_wrote()
    stop.set()
    await asyncio.gather(*writers)

    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    await whole(filled)
    async with filled.reader() as conn:
        assert (await conn.execute(sa.select(sa.func.count()).select_from(records))).scalar_one() > seen[3]


async def whole(ledger: StoreLedger) -> None:
    async with ledger.reader() as conn:
        reached = (await conn.execute(sa.select(sa.func.sum(sources.c.seq)))).scalar_one()
        assert (await conn.execute(sa.select(sa.func.count()).select_from(records))).scalar_one() == reached
    assert "fault" not in {found.state async for found in check(ledger, lambda _d, _o: None)}
    await ledger.aclose()


async def test_what_a_killed_process_has_left_unfinished_goes_with_the_next_one(sqlite_url, tmp_path):
    """It holds all that is in a backup, also who was erased since. One that is being written stays."""
    ledger = StoreLedger(sqlite_url)
    await (await ledger.connect()).aclose()
    left = [
        tmp_path / f".{name}.9999999.part{tail}" for name in ("b.db", "ledger.db.restored") for tail in ("", "-wal")
    ]
    living = [tmp_path / f".b.db.9999998.part{tail}" for tail in ("", "-wal")]
    for file in (*left, *living):
        file.write_bytes(b"somebody")
        long_ago = time.time() - 2 * 3600
        os.utime(file, None if file == living[1] else (long_ago, long_ago))

    await backup(ledger, tmp_path / "b.db", 0, told)
    await restore(ledger, tmp_path / "b.db", NOW, told, replace=True)

    assert sorted(tmp_path.glob(".*")) == living


async def test_a_backup_that_fails_leaves_nothing_behind(sqlite_url, tmp_path):
    ledger = StoreLedger(sqlite_url)
    await (await ledger.connect()).aclose()

    with pytest.raises(LedgerUnavailable, match="No such file"):
        await backup(ledger, tmp_path / "no" / "b.db", 0, told)
    shutil.rmtree(tmp_path / "no", ignore_errors=True)
    assert not list(tmp_path.glob("*.part"))
