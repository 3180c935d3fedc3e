"""Locks of PostgreSQL that are waited for: briefly, as whoever comes later waits behind those who wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import sqlalchemy as sa
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.errors import LedgerUnavailable

BRIEF_SECONDS = 1.0
"""A batch takes some hundredths of one: who has held a lock for longer is stuck, or works at something large."""

ALONE_SECONDS = 90.0
"""How long a command tries to be alone: longer than a lost process keeps its locks (`engines.SILENT_SECONDS`)."""

_PAUSE_SECONDS = 1.0
"""Between two tries: those that had come to wait behind the first one pass."""


class _Held(LedgerUnavailable):
    """Somebody has held a lock for longer than it is waited for."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"another transaction has held a lock of the ledger for more than {seconds:g} s; nothing is changed. "
            "Try again; if it stays so, find it in pg_stat_activity and pg_locks, and end it"
        )


async def be_alone(conn: AsyncConnection, tables: str) -> None:
    """Until the commit nobody else writes into these tables; inside of the caller's transaction.

    Raises LedgerUnavailable where somebody's transaction does not end.
    """

    async def lock() -> None:
        await conn.exec_driver_sql(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")

    await in_turns(conn, lock, ALONE_SECONDS)


async def in_turns(conn: AsyncConnection, change: Callable[[], Awaitable[object]], seconds: float) -> None:
    """What waits for locks, in the caller's transaction: tried for so long, and undone between two tries.

    Raises LedgerUnavailable where somebody's transaction does not end.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            async with conn.begin_nested(), briefly(conn):
                await change()
        except _Held as fault:
            if time.monotonic() > until:
                raise _Held(seconds) from fault
        else:
            return
        await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def briefly(conn: AsyncConnection) -> AsyncIterator[None]:
    """No lock is waited for longer in here. Raises LedgerUnavailable; the transaction or savepoint has failed then."""
    before = (await conn.execute(sa.select(sa.func.current_setting("lock_timeout")))).scalar_one()
    await conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{BRIEF_SECONDS:g}s'")
    try:
        yield
    except sa_exc.DBAPIError as fault:
        if not _is_lock_timeout(fault):
            raise
        raise _Held(BRIEF_SECONDS) from fault
    # DEFAULT would be the server's, which waits for ever, not what this session has set.
    await conn.execute(sa.select(sa.func.set_config("lock_timeout", before, True)))


def _is_lock_timeout(fault: sa_exc.DBAPIError) -> bool:
    return getattr(fault.orig, "sqlstate", None) == "55P03"
