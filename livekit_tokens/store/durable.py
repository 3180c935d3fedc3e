"""What is committed, on the disk: before anything is removed that could be told again.

A batch does not wait for SQLite's disk (`synchronous=NORMAL`), nor for PostgreSQL's where its `synchronous_commit` is
off: a power cut may take the last ones, and the spool has them. What goes from the spool must be past that.
"""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.store.address import PostgresAddress, SqliteAddress
from livekit_tokens.store.schema import sources

_touch = sa.update(sources).where(sources.c.id == sa.bindparam("of_source")).values(updated_at=sources.c.updated_at)


async def make_durable(conn: AsyncConnection, address: SqliteAddress | PostgresAddress, source: str) -> None:
    """Returns when all that was committed until now is on the disk; blocks for it. Raises OSError where it refuses."""
    if isinstance(address, SqliteAddress):
        _sync(address.path.with_name(f"{address.path.name}-wal"))
        _sync(address.path.parent)
        return
    # One commit that waits for this server's disk takes all earlier ones along, if it has written something itself.
    async with conn.begin():
        await conn.exec_driver_sql("SET LOCAL synchronous_commit = local")
        await conn.execute(_touch, {"of_source": source})


def _sync(path: Path) -> None:
    """The log holds what is not in the file yet; what is there was synced before it left the log (sqlite.org/wal.html).

    Nobody's locks are on the log: to close it again ends none, as it would with the ledger's file itself.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
