"""The condition of a ledger: reachable, of this version's schema, writable now. Looks make and change nothing."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.findings import Finding
from livekit_tokens.core.ledger import Checkpoint
from livekit_tokens.core.places import Place
from livekit_tokens.domain.errors import LedgerTooNew, LedgerUnavailable
from livekit_tokens.store import ingest
from livekit_tokens.store.address import Address, SqliteAddress, address_of
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.engines import BUSY_SECONDS, identity_of, postgres_engine, sqlite_engine
from livekit_tokens.store.faults import told
from livekit_tokens.store.migrations import HEAD
from livekit_tokens.store.revision import is_current, revision_of
from livekit_tokens.store.schema import sources

_WRITING = "ledger write"
_LOCKS = Path("/proc/locks")
_WAL_WRITE_LOCK = 120
"""The byte of the -shm file that a writer of a WAL database locks (sqlite.org/walformat.html, "WAL locks")."""

_TODO = {
    "SQLITE_READONLY": "give the file and its folder to the agent's user, on a disk that is mounted writable",
    "EROFS": "mount the disk writable, or name another file in DATABASE_URL",
    "EACCES": "give the file and its folder to the agent's user, or name another file in DATABASE_URL",
    "ENOSPC": "free some space; the spools keep what is counted until then",
    "SQLITE_FULL": "free some space; the spools keep what is counted until then",
    "SQLITE_IOERR": "look at the disk (dmesg) and its free space",
    "SQLITE_CANTOPEN": "give the file and its folder to the agent's user, or name another file in DATABASE_URL",
    "SQLITE_NOTADB": "name another file in DATABASE_URL, or move this one away",
    "SQLITE_CORRUPT": "restore a backup, or move the file away to begin a new ledger",
    "28P01": "check user and password in DATABASE_URL",
    "3D000": "create that database, or name another one in DATABASE_URL",
    "42501": "grant this user SELECT, INSERT, UPDATE and DELETE on the ledger's tables",
    "25006": "name the primary in DATABASE_URL: this server is a read-only replica",
    "53300": "raise max_connections, or close what holds the server's connections",
}
"""By the system's or SQLite's name of the error, or by PostgreSQL's SQLSTATE."""


def places_of(database_url: str) -> list[Place]:
    """The folder of a SQLite file; of a server, nothing on this machine."""
    address = address_of(database_url)
    return [Place("ledger", address.path.parent, "DATABASE_URL")] if isinstance(address, SqliteAddress) else []


def look_at_ledger(database_url: str) -> Iterator[Finding]:
    """Reachable, schema, and a write that is taken back. What is not there yet is not made."""
    address = address_of(database_url)
    try:
        revision = asyncio.run(revision_at(address))
    except LedgerUnavailable as fault:
        yield Finding("fault", "ledger", str(fault), todo_of(fault))
        return
    found = schema_finding(revision, address)
    yield found
    if revision == HEAD:
        yield from _look_at_writing(database_url, address)


def checkpoints_of(database_url: str, ids: list[str]) -> Mapping[str, Checkpoint] | None:
    """Where the ledger has these sources' spools drained to; None if it cannot be asked. Upgrades nothing."""
    address = address_of(database_url)
    try:
        return asyncio.run(_checkpoints(address, ids))
    except LedgerUnavailable:
        return None


def schema_finding(revision: str | None, address: Address) -> Finding:
    """What a database's revision means for this version."""
    if revision is None:
        told = f"no ledger at {address} yet: it is made with the first tracked call"
        return Finding("note", "ledger", told, "if there was one, check DATABASE_URL")
    try:
        current = is_current(revision, address)
    except LedgerTooNew:
        told = f"{address} has schema {revision}, made by a newer livekit-tokens; this one knows up to {HEAD}"
        todo = "pip install -U livekit-tokens here, or name another DATABASE_URL; the spools keep it all until then"
        return Finding("fault", "ledger", told, todo)
    except LedgerUnavailable as fault:
        return Finding("fault", "ledger", str(fault), "name another database in DATABASE_URL")
    if current:
        return Finding("ok", "ledger", f"{address} answers, with schema {revision}")
    return Finding("note", "ledger", f"{address} has schema {revision}; the next process that writes makes it {HEAD}")


def todo_of(fault: BaseException) -> str:
    """What to do about what a driver said."""
    code = _code(fault)
    found = next((todo for sign, todo in _TODO.items() if code.startswith(sign)), None)
    return found or "see that the database runs and can be reached from here, and check DATABASE_URL"


def _code(fault: BaseException | None) -> str:
    while fault is not None:
        if code := getattr(fault, "sqlite_errorname", None) or getattr(fault, "sqlstate", None):
            return str(code)
        if isinstance(fault, OSError) and fault.errno is not None:
            return errno.errorcode.get(fault.errno, "")
        fault = fault.__cause__
    return ""


async def revision_at(address: Address) -> str | None:
    """A database's revision; None where there is no ledger. Makes and changes nothing."""
    if isinstance(address, SqliteAddress) and identity_of(address.path) is None:
        return None
    with told(address):
        conn = await opened(address)
        try:
            return await revision_of(conn)
        finally:
            await conn.close()


async def _checkpoints(address: Address, ids: list[str]) -> Mapping[str, Checkpoint] | None:
    if isinstance(address, SqliteAddress) and identity_of(address.path) is None:
        return {}
    with told(address):
        conn = await opened(address)
        try:
            revision = await revision_of(conn)
            if revision is None:
                return {}
            return await ingest.read_checkpoints(conn, ids) if revision == HEAD else None
        finally:
            await conn.close()


async def opened(address: Address) -> AsyncConnection:
    """A connection that reads, and makes nothing. Raises what the driver raises."""
    if isinstance(address, SqliteAddress):
        return await sqlite_engine(address.path, "ro").connect()
    conn = await postgres_engine(address, poolclass=sa.NullPool).connect()
    # A table that somebody has locked would be waited for. Of this transaction: a pooler's next one is another's.
    await conn.exec_driver_sql(f"SET LOCAL statement_timeout = '{BUSY_SECONDS:g}s'")
    return conn


def _look_at_writing(database_url: str, address: Address) -> Iterator[Finding]:
    try:
        asyncio.run(_write_and_take_back(database_url))
    except LedgerUnavailable as fault:
        if _code(fault).startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "55P03")):
            yield _locked(address)
        else:
            yield Finding("fault", _WRITING, str(fault), todo_of(fault))
    else:
        yield Finding("ok", _WRITING, "a transaction could write, and was taken back")


async def _write_and_take_back(database_url: str) -> None:
    ledger = StoreLedger(database_url)
    row = {column.name: 0 for column in sources.columns} | {"id": f"doctor-{os.getpid()}", "host": "doctor"}
    try:
        connection = await ledger.connect()
        try:
            with told(ledger.address):
                async with connection.transaction() as conn:
                    if conn.dialect.name == "postgresql":
                        await conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS:g}s'")
                    await conn.execute(sa.insert(sources).values(row))
                    await conn.rollback()
        finally:
            await connection.aclose()
    finally:
        await ledger.aclose()


def _locked(address: Address) -> Finding:
    if not isinstance(address, SqliteAddress):
        seen = f"a table of {address} is locked: no write in {BUSY_SECONDS:g} s"
        return Finding("fault", _WRITING, seen, "find who holds it in pg_locks and pg_stat_activity, and end that")
    holder = lock_holder(address.path)
    who = f"process {holder} ({_command(holder)})" if holder else "another process"
    seen = f"stale lock: {who} has held the write lock of {address.path} for more than {BUSY_SECONDS:g} s"
    found = f"end process {holder} if it is stuck" if holder else f"find it with `fuser {address.path}`, and end it"
    return Finding("fault", _WRITING, seen, f"{found}; calls go on, and their spools keep everything until then")


def lock_holder(path: Path) -> int | None:
    """The process that holds a SQLite file's write lock, where /proc tells."""
    files = {found[1] for found in (identity_of(path.with_name(path.name + tail)) for tail in ("-shm", "")) if found}
    try:
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:  # "1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 120 120"
        fields = line.replace("-> ", "").split()
        if len(fields) < 8 or fields[3] != "WRITE" or int(fields[5].rpartition(":")[2]) not in files:
            continue
        first, last = int(fields[6]), fields[7]
        # Of the -shm file the one byte; of the file itself (no WAL) any.
        covers = first <= _WAL_WRITE_LOCK and (last == "EOF" or int(last) >= _WAL_WRITE_LOCK)
        if (covers or first > 1 << 29) and int(fields[4]) > 0:
            return int(fields[4])
    return None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "unknown"
