"""Backups. A backup is a ledger in one SQLite file, whatever it is a backup of: it can be read where it lies
(DATABASE_URL), and goes back into SQLite or PostgreSQL.

SQLite's files are copied through SQLite only. Copied by name, a file lacks what stands in its -wal; moved over a ledger
whose -wal stays behind, it is damaged.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.errors import LedgerUnavailable, NoLedger
from livekit_tokens.domain.times import MINUTE, Micros, rfc3339
from livekit_tokens.store.address import SqliteAddress
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.engines import BUSY_SECONDS, make_private
from livekit_tokens.store.faults import told
from livekit_tokens.store.revision import is_current
from livekit_tokens.store.schema import metadata, parts, sources

OnRows = Callable[[int], None]
"""Is told how many rows are copied."""

LIVING_MICROS: Micros = 5 * MINUTE
"""A ledger that was written within this time has a process that writes."""

_PAGE = 2000
_BESIDE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that was looked at: its place, its size in bytes, the rows of each table."""

    place: str
    size: int
    revision: str
    rows: Mapping[str, int]

    def to_dict(self) -> dict[str, object]:
        return {"place": self.place, "bytes": self.size, "revision": self.revision, "rows": dict(self.rows)}


async def backup(ledger: StoreLedger, file: Path, keep: int, on_rows: OnRows) -> Copied:
    """Copy the ledger, as it is at one moment, while calls go on; the file is there once it is whole and looked at.

    With `keep` the file may be there: it becomes FILE.1, that FILE.2, and so on; `keep` of them stay. Raises
    LedgerUnavailable, also where the file cannot be written.
    """
    _refuse_to_write_over(file, keep)
    async with ledger.reader():
        pass  # there is a ledger, of this version's schema
    with told(file), _unfinished(file) as part:
        if isinstance(ledger.address, SqliteAddress):
            await asyncio.to_thread(_copy_file, ledger.address.path, part)
        else:
            await _copy_out(ledger, part, on_rows)
        found = await asyncio.to_thread(_looked_at, part)
        _make_room(file, keep)
        part.replace(file)
    return Copied(str(file), found.size, found.revision, found.rows)


async def restore(ledger: StoreLedger, file: Path, now: Micros, on_rows: OnRows, *, replace: bool = False) -> Copied:
    """Put a backup in the ledger's place, whole or not at all. Processes that write notice, and tell again what is in
    their spools and not in the backup.

    Raises LedgerUnavailable for a file that is no whole backup, and, unless `replace`, over a ledger that is newer
    than the backup or is being written; LedgerTooNew for a backup of a newer version.
    """
    with told(file):
        found = await asyncio.to_thread(_looked_at, file)
        is_current(found.revision, file)
        if not replace:
            await _refuse_over(ledger, file, now)
        if isinstance(ledger.address, SqliteAddress):
            path = ledger.address.path
            await asyncio.to_thread(_put_in_place, file, path)
            there = await asyncio.to_thread(_looked_at, path)
        else:
            there = await _copy_in(ledger, file, on_rows, found)
    if there.rows != found.rows:
        raise LedgerUnavailable(
            f"{ledger.address} holds {there.rows} after the restore, {file} {found.rows}; try again"
        )
    await (await ledger.connect()).aclose()  # an older schema is upgraded
    return Copied(str(ledger.address), there.size, there.revision, there.rows)


def _refuse_to_write_over(file: Path, keep: int) -> None:
    if file.exists() and not keep:
        raise LedgerUnavailable(f"{file} is there already; give another name, or --keep N to keep the last N")


async def _refuse_over(ledger: StoreLedger, file: Path, now: Micros) -> None:
    try:
        async with ledger.reader() as conn:
            written = (await conn.execute(sa.select(sa.func.max(sources.c.updated_at)))).scalar_one()
            is_open = (await conn.execute(sa.select(parts.c.key).where(parts.c.status == "open").limit(1))).first()
    except NoLedger:
        return
    if written is None:
        return
    way = "--replace puts the backup in its place all the same"
    if is_open or now - written < LIVING_MICROS:
        last = f"last at {rfc3339(written)}" + (", with a call open" if is_open else "")
        raise LedgerUnavailable(f"the ledger at {ledger.address} is being written ({last}): end the agents, or {way}")
    with closing(_connected(file, "ro")) as copy:
        known = copy.execute("SELECT MAX(updated_at) FROM sources").fetchone()[0]
    if known is None or written > known:
        older = f"{file} ({rfc3339(known) or 'empty'})"
        raise LedgerUnavailable(f"the ledger at {ledger.address} is newer ({rfc3339(written)}) than {older}: {way}")


def _copy_file(source: Path, target: Path) -> None:
    """All pages in one step: in pieces, it would begin anew whenever a call is written."""
    with closing(_connected(source, "ro")) as one, closing(_connected(target, "rw")) as other:
        one.backup(other)
        # One file, without -wal and -shm beside it.
        other.execute("PRAGMA journal_mode = DELETE")


def _put_in_place(file: Path, path: Path) -> None:
    """SQLite itself writes over a ledger, under its own lock and through its -wal: processes that have it open see
    the backup from one transaction to the next. Only a damaged file is moved away first, with what is beside it.
    """
    if _has_bytes(path):
        if not _is_ours(path):
            _move_away(path)
    else:
        for left_over in _beside(path):
            left_over.unlink(missing_ok=True)
    make_private(path)
    with closing(_connected(file, "ro")) as one, closing(_connected(path, "rw")) as other:
        one.backup(other)


def _is_ours(path: Path) -> bool:
    """False for a damaged file; raises LedgerUnavailable for a whole one that is no ledger."""
    try:
        with closing(_connected(path, "rw")) as conn:
            tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            whole = bool(conn.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError as fault:
        if isinstance(fault, sqlite3.OperationalError):  # locked, no right to write
            raise
        return False
    if tables and not tables >= {"alembic_version", "sources", "records"}:
        raise LedgerUnavailable(f"{path} is another application's database; name another one in DATABASE_URL")
    return whole


def _move_away(path: Path) -> None:
    """The -wal first: beside another file of this name it would be taken for that one's."""
    aside = f".damaged-{time.time_ns() // 1_000_000_000}"
    for file in (*_beside(path), path):
        if file.exists():
            file.rename(file.with_name(file.name + aside))


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + tail) for tail in _BESIDE]


def _has_bytes(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


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


async def _copy_in(ledger: StoreLedger, file: Path, on_rows: OnRows, found: Copied) -> Copied:
    """Into a server, in one transaction; drains wait for it. The file is copied first where its schema is older."""
    with _unfinished(file.with_name(f"{file.name}.restored")) as copied:
        await asyncio.to_thread(_copy_file, file, copied)
        backed_up = StoreLedger(f"sqlite:///{copied}")
        try:
            async with backed_up.reader() as source, ledger.writer() as conn:
                await conn.exec_driver_sql(f"LOCK TABLE {', '.join(metadata.tables)} IN EXCLUSIVE MODE")
                for table in metadata.tables.values():
                    await conn.execute(sa.delete(table))
                await _copy_rows(source, conn, on_rows)
                rows = {
                    name: (
                        await conn.execute(sa.select(sa.func.count()).select_from(metadata.tables[name]))
                    ).scalar_one()
                    for name in found.rows
                }
        finally:
            await backed_up.aclose()
        return Copied(str(ledger.address), copied.stat().st_size, found.revision, rows)


async def _copy_rows(source: AsyncConnection, target: AsyncConnection, on_rows: OnRows) -> None:
    copied = 0
    for table in metadata.tables.values():
        twin = _null_is_null(table)
        async with source.stream(sa.select(table).execution_options(yield_per=_PAGE)) as rows:
            async for page in rows.mappings().partitions():
                await target.execute(sa.insert(twin), [dict(row) for row in page])
                copied += len(page)
                on_rows(copied)


def _null_is_null(table: sa.Table) -> sa.TableClause:
    """The table, to be inserted into: SQLAlchemy would write None into a JSON column as JSON's null."""
    null = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
    columns = (sa.column(c.name, null if isinstance(c.type, sa.JSON) else c.type) for c in table.columns)
    return sa.table(table.name, *columns)


@contextmanager
def _unfinished(file: Path) -> Iterator[Path]:
    """Another name beside the file, its owner's alone, and gone at the end with what SQLite has put beside it."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield part
    finally:
        for left_over in (*_beside(part), part):
            left_over.unlink(missing_ok=True)


def _looked_at(file: Path) -> Copied:
    """Raises LedgerUnavailable for a file that is not a whole ledger."""
    if not _has_bytes(file):
        raise LedgerUnavailable(f"{file} is no backup: there is nothing in it")
    try:
        with closing(_connected(file, "ro")) as conn:
            said = conn.execute("PRAGMA integrity_check(1)").fetchone()[0]
            tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if said != "ok" or "alembic_version" not in tables:
                raise LedgerUnavailable(f"{file} is no whole ledger ({said.splitlines()[0]}); give another backup")
            (revision,) = conn.execute("SELECT version_num FROM alembic_version").fetchone()
            ours = sorted(tables & set(metadata.tables))
            rows = {name: conn.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in ours}  # noqa: S608
    except sqlite3.DatabaseError as fault:
        raise LedgerUnavailable(f"{file} is no whole ledger ({fault}); give another backup") from fault
    return Copied(str(file), file.stat().st_size, revision, rows)


def _make_room(file: Path, keep: int) -> None:
    """FILE becomes FILE.1, that FILE.2; the oldest go."""
    if not file.exists():
        return
    kept = [file, *(file.with_name(f"{file.name}.{number}") for number in range(1, keep))]
    for older, newer in zip(reversed(kept[1:]), reversed(kept[:-1]), strict=True):
        if newer.exists():
            newer.replace(older)
