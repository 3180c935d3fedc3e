"""How the databases are opened: SQLite's file, its rights and modes; PostgreSQL's connections and limits."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiosqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from livekit_tokens.core.files import make_folder
from livekit_tokens.store.address import PostgresAddress

if TYPE_CHECKING:
    import asyncpg  # type: ignore[import-untyped]

BUSY_SECONDS = 5.0
"""How long SQLite waits for another process's write lock before the batch is given back to the drain."""

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""PostgreSQL: a server that has not answered by then counts as gone."""

LOCK_SECONDS = 20.0
"""PostgreSQL: so long a table or a row that another holds is waited for; less than the above, so that who waits is told
why."""

SILENT_SECONDS = 60
"""PostgreSQL: who writes, and says nothing in a transaction for so long, or does not answer the network, is gone, and
its locks with it. By itself a server never does the first, and the second after two hours."""

READERS = 4
"""Connections to PostgreSQL that readers keep; more are opened and closed as needed."""

CHECKPOINT_PAGES = 8_000
"""Of 4 KB: how far SQLite's WAL grows before its pages are brought into the file (1,000 by default, about one batch).
Calls lie in their indexes at random; the larger the ledger, the more pages a batch touches, and each checkpoint writes
them once, however often they were touched: with 8,000, ingest into 10 million records takes what it takes into none
(benchmarks/size.py)."""

Identity = tuple[int, int]
"""Device and inode of a file: whether the path still leads to the file that was opened."""


def identity_of(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make_private(path: Path) -> Identity:
    """The file is made here rather than by SQLite, whose files everybody may read. WAL files inherit its rights.

    One that is there is only looked at: to close a file ends the locks that this process's other connections hold on
    it (POSIX; sqlite.org/howtocorrupt.html, 2.2), and another process would then remove their WAL.
    """
    if (found := identity_of(path)) is not None:
        return found
    make_folder(path.parent)
    with suppress(FileExistsError):  # another process was first
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
    made = path.stat()
    return made.st_dev, made.st_ino


def sqlite_engine(path: Path, mode: str) -> AsyncEngine:
    """No pool: a kept connection would go on reading a file that has been replaced, and opening one takes 1 ms."""

    _hush("aiosqlite", "alembic")

    async def opened(*_args: object, **_options: object) -> aiosqlite.Connection:
        return await _open_sqlite(path, mode)

    return create_async_engine("sqlite+aiosqlite://", async_creator=opened, poolclass=NullPool, hide_parameters=True)


async def _open_sqlite(path: Path, mode: str) -> aiosqlite.Connection:
    # isolation_level None: transactions begin where we say so, not where Python's sqlite3 guesses.
    connecting = aiosqlite.connect(
        f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    # aiosqlite works in a thread of its own, which must not keep an interpreter alive that wants to exit.
    thread: Any = getattr(connecting, "_thread", connecting)
    thread.daemon = True
    conn = await connecting
    try:
        if mode != "ro":
            await _set_wal(conn)
        # NORMAL: in WAL mode a power cut may take the last commits, but never their order nor the file. Records and
        # checkpoint go together, and the spool keeps them for its replay window: they are written again. FULL would
        # cost an fsync a batch for nothing more.
        await conn.execute("PRAGMA synchronous = NORMAL")
        await conn.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    except BaseException:
        await conn.close()
        raise
    return conn


async def _set_wal(conn: aiosqlite.Connection) -> None:
    """WAL lets readers and the writer go on side by side. It is the file's property: a look, once it is set."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            await conn.execute_fetchall("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as fault:
            # The change of mode does not wait for other processes, busy timeout or not.
            if "locked" not in str(fault) or time.monotonic() > until:
                raise
            await asyncio.sleep(0.02)
        else:
            return


def postgres_engine(
    address: PostgresAddress, *, may_take_its_time: bool = False, writes: bool = False, **options: Any
) -> AsyncEngine:
    _hush("alembic")

    async def opened(*_args: object, **_options: object) -> asyncpg.Connection[asyncpg.Record]:
        import asyncpg  # noqa: PLC0415 - an extra

        # By asyncpg's own reading of the URL, which knows libpq's options: sslmode, several hosts, passfile.
        answer_seconds = None if may_take_its_time else ANSWER_SECONDS
        # A prepared statement is the server connection's that prepared it, and a pooler's next transaction has another
        # one. Without a cache asyncpg gives none a name, and sends each with its values.
        kept = {"statement_cache_size": 0} if address.pooled else {}
        conn = await asyncpg.connect(address.dsn, timeout=CONNECT_SECONDS, command_timeout=answer_seconds, **kept)
        if writes and not address.pooled:  # not with the connect: a pooler in session mode would refuse it
            await conn.execute(_OF_WRITERS.format(lock=LOCK_SECONDS, silent=SILENT_SECONDS, beat=SILENT_SECONDS // 4))
        return conn

    return create_async_engine("postgresql+asyncpg://", async_creator=opened, hide_parameters=True, **options)


_OF_WRITERS = """
    SET lock_timeout = '{lock}s'; SET idle_in_transaction_session_timeout = '{silent}s';
    SET tcp_user_timeout = '{silent}s'; SET tcp_keepalives_idle = {beat}; SET tcp_keepalives_interval = {beat};
    SET tcp_keepalives_count = 3
"""


def _hush(*drivers: str) -> None:
    """Keep a host's root logger at DEBUG (LiveKit's `dev` mode) from asking the drivers for all that they can tell:
    aiosqlite tells each statement with its values, so also who called (asyncpg tells none). Whoever gives these
    loggers a level of their own keeps it; LiveKit (`cli/log.py`) and SQLAlchemy (`log.py`) quieten others likewise.
    """
    for logger in map(logging.getLogger, drivers):
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
