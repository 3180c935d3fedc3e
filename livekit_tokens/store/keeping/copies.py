"""Backups. A backup is a ledger in one SQLite file, whatever it is a backup of: it can be read where it lies
(DATABASE_URL), and goes back into SQLite or PostgreSQL.

SQLite's files are copied through SQLite only. Copied by name, a file lacks what stands in its -wal; moved over a ledger
whose -wal stays behind, it is damaged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.files import make_folder
from livekit_tokens.domain.erasure import Forgotten
from livekit_tokens.domain.errors import LedgerUnavailable, NoLedger
from livekit_tokens.domain.times import Micros, rfc3339
from livekit_tokens.store.address import SqliteAddress
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.faults import told
from livekit_tokens.store.keeping.erasing import forget_again, forgotten_by, remembered
from livekit_tokens.store.keeping.files import (
    Copied,
    beside,
    connected,
    copy_file,
    kept_files,
    looked_at,
    make_room,
    put_in_place,
    to_the_end,
    unfinished,
)
from livekit_tokens.store.keeping.tending import vacuum
from livekit_tokens.store.locks import be_alone
from livekit_tokens.store.revision import is_current
from livekit_tokens.store.schema import metadata, parts, rolled_days, sources

OnRows = Callable[[int], None]
"""Is told how many rows are copied."""

_PAGE = 2000


async def backup(ledger: StoreLedger, file: Path, keep: int, on_rows: OnRows) -> Copied:
    """Copy the ledger, as it is at one moment, while calls go on; the file is there once it is whole and looked at.

    With `keep` the file may be there: it becomes FILE.1, that FILE.2, and so on; `keep` of them stay. Raises
    LedgerUnavailable, also where the file cannot be written, or is the ledger.
    """
    _refuse_to_write_over(ledger, file, keep)
    await ledger.check_is_there()
    with told(file), unfinished(file) as part:
        if isinstance(ledger.address, SqliteAddress):
            await to_the_end(copy_file, ledger.address.path, part)
        else:
            await _copy_out(ledger, part, on_rows)
        found = await to_the_end(looked_at, part)
        make_room(file, keep)
        part.replace(file)
    return Copied(str(file), found.size, found.revision, found.rows)


async def restore(
    ledger: StoreLedger, file: Path, living_since: Micros, on_rows: OnRows, *, replace: bool = False
) -> Copied:
    """Put a backup in the ledger's place, whole or not at all; whom the ledger had forgotten stays forgotten.

    The backup is made ready beside the ledger: upgraded, and without these people. What follows is one step, which an
    interruption comes before or after. Processes that write notice, and tell again what is in their spools and not in
    the backup. Raises LedgerUnavailable for a file that is no whole backup, and, unless `replace`, over a ledger that
    is newer than the backup or is being written (since `living_since`); LedgerTooNew for a backup of a newer version.
    """
    with told(file):
        found = await to_the_end(looked_at, file)
        is_current(found.revision, file)
        if not replace:
            await _refuse_over(ledger, file, living_since)
    place = ledger.address.path if isinstance(ledger.address, SqliteAddress) else file
    make_folder(place.parent)
    with told(place), unfinished(place.with_name(f"{place.name}.restored")) as ready:
        await to_the_end(copy_file, file, ready)
        forgotten = await remembered(ledger)
        await _make_ready(ready, forgotten)
        whole = await to_the_end(looked_at, ready)
        if isinstance(ledger.address, SqliteAddress):
            _refuse_if_others(forgotten, await remembered(ledger))
            with suppress(asyncio.CancelledError):  # it is in place all the same, and that is what is told
                await to_the_end(put_in_place, ready, ledger.address.path)
            with suppress(asyncio.CancelledError):
                await (await ledger.connect()).aclose()  # takes away what lay beside a ledger that was gone
        else:
            await _copy_in(ledger, ready, on_rows, whole, forgotten)
    return Copied(str(ledger.address), whole.size, whole.revision, whole.rows)


async def _make_ready(copy: Path, forgotten: Forgotten | None) -> None:
    """Upgrade a backup's copy, and take out of it whom the ledger has forgotten, also from the file's free places."""
    made = StoreLedger(f"sqlite:///{copy}")
    try:
        async with made.writer() as conn:
            # Who was about such a day when the backup was taken may be so still: they would add up two ledgers.
            await conn.execute(sa.delete(rolled_days).where(rolled_days.c.taken_by.is_not(None)))
        if forgotten is not None and await forget_again(made, forgotten):
            await vacuum(made)
    finally:
        await made.aclose()


def _refuse_if_others(before: Forgotten | None, now: Forgotten | None) -> None:
    if now != before:
        raise LedgerUnavailable(
            "somebody was erased while the backup was made ready; nothing is changed, restore again"
        )


def _refuse_to_write_over(ledger: StoreLedger, file: Path, keep: int) -> None:
    if isinstance(ledger.address, SqliteAddress):
        ours = [path for path in (ledger.address.path, *beside(ledger.address.path)) if path.exists()]
        for target in kept_files(file, keep):
            if target.exists() and any(target.samefile(path) for path in ours):
                raise LedgerUnavailable(f"{target} is the ledger itself, not a place for its backup; give another name")
    if file.exists() and not keep:
        raise LedgerUnavailable(f"{file} is there already; give another name, or --keep N to keep the last N")


async def _refuse_over(ledger: StoreLedger, file: Path, living_since: Micros) -> None:
    try:
        async with ledger.reader() as conn:
            written = (await conn.execute(sa.select(sa.func.max(sources.c.updated_at)))).scalar_one()
            is_open = (await conn.execute(sa.select(parts.c.key).where(parts.c.status == "open").limit(1))).first()
    except NoLedger:
        return
    if written is None:
        return
    way = "--replace puts the backup in its place all the same"
    if is_open or written > living_since:
        last = f"last at {rfc3339(written)}" + (", with a call open" if is_open else "")
        raise LedgerUnavailable(f"the ledger at {ledger.address} is being written ({last}): end the agents, or {way}")
    with closing(connected(file, "ro")) as copy:
        known = copy.execute("SELECT MAX(updated_at) FROM sources").fetchone()[0]
    if known is None or written > known:
        older = f"{file} ({rfc3339(known) or 'empty'})"
        raise LedgerUnavailable(f"the ledger at {ledger.address} is newer ({rfc3339(written)}) than {older}: {way}")


async def _copy_out(ledger: StoreLedger, target: Path, on_rows: OnRows) -> None:
    """A server's ledger as a file: all tables of one snapshot."""
    copy = StoreLedger(f"sqlite:///{target}")
    try:
        async with ledger.reader() as source, copy.writer() as conn:
            await _copy_rows(source, conn, on_rows)
        async with copy.outside_transactions() as conn:
            await conn.exec_driver_sql("PRAGMA journal_mode = DELETE")
    finally:
        await copy.aclose()


async def _copy_in(
    ledger: StoreLedger, ready: Path, on_rows: OnRows, whole: Copied, forgotten: Forgotten | None
) -> None:
    """Into a server, in one transaction; drains wait for it."""
    copy = StoreLedger(f"sqlite:///{ready}")
    try:
        async with copy.reader() as source, ledger.writer() as conn:
            await be_alone(conn, ", ".join(metadata.tables))
            _refuse_if_others(forgotten, await forgotten_by(conn))
            for table in metadata.tables.values():
                await conn.execute(sa.delete(table))
            await _copy_rows(source, conn, on_rows)
            for name, rows in whole.rows.items():
                counted = sa.select(sa.func.count()).select_from(metadata.tables[name])
                if (there := (await conn.execute(counted)).scalar_one()) != rows:
                    raise LedgerUnavailable(
                        f"{there:,} of {rows:,} {name} came to {ledger.address}; nothing is changed, try again"
                    )
    finally:
        await copy.aclose()


async def _copy_rows(source: AsyncConnection, target: AsyncConnection, on_rows: OnRows) -> None:
    copied = 0
    for table in metadata.tables.values():
        async with source.stream(sa.select(table).execution_options(yield_per=_PAGE)) as rows:
            async for page in rows.mappings().partitions():
                await target.execute(sa.insert(table), [dict(row) for row in page])
                copied += len(page)
                on_rows(copied)
