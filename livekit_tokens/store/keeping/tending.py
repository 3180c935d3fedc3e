"""What a database needs now and then: the schema of this version, and its space back."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.faults import told
from livekit_tokens.store.schema import metadata


class Vacuumed(NamedTuple):
    """Bytes of the whole ledger, before and after."""

    before: int
    after: int

    def to_dict(self) -> dict[str, object]:
        return {"bytes_before": self.before, "bytes_after": self.after}


async def vacuum(ledger: StoreLedger) -> Vacuumed:
    """Give back the space of what was removed. SQLite writes the whole file anew (calls' spools wait meanwhile);
    PostgreSQL makes it free for new rows. Raises LedgerUnavailable.
    """
    await ledger.check_is_there()
    with told(ledger.address):
        async with ledger.outside_transactions() as conn:
            before = await _size(conn)
            if conn.dialect.name == "sqlite":
                await conn.exec_driver_sql("VACUUM")
                await conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            else:
                for table in metadata.tables:
                    await conn.exec_driver_sql(f"VACUUM (ANALYZE) {table}")
            return Vacuumed(before, await _size(conn))


async def _size(conn: AsyncConnection) -> int:
    if conn.dialect.name == "sqlite":
        pages, size = [
            (await conn.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in ("page_count", "page_size")
        ]
        return int(pages) * int(size)
    # By name in the search path, as our statements find them.
    sizes = [sa.func.pg_total_relation_size(name) for name in metadata.tables]
    return int((await conn.execute(sa.select(sum(sizes[1:], sizes[0])))).scalar_one())
