"""Records that have become old are removed, in small transactions of their own: a drain waits for one at most.

Checkpoints stay: a spool that is replayed brings nothing back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.errors import UnknownName
from livekit_tokens.domain.times import Micros, rfc3339
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping.removal import Pruning, close, count, old, reached, remove_some, write_down
from livekit_tokens.store.schema import parts, records, sums

PAUSE_SECONDS = 0.02
"""Between two transactions, so that whoever waits for the lock gets it."""

OnRows = Callable[[int], None]
"""Is told how many rows are removed."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be; of `sums` and `sessions` (their parts) None where they stay."""

    asked: Pruning
    records: int
    sums: int | None
    parts: int | None
    dry_run: bool

    def to_dict(self) -> dict[str, object]:
        return {
            "until": rfc3339(self.asked.until),
            "tenant": self.asked.tenant,
            "dry_run": self.dry_run,
            "records": self.records,
            "sums": self.sums,
            "parts": self.parts,
        }


async def prune(ledger: StoreLedger, asked: Pruning, now: Callable[[], Micros], on_rows: OnRows) -> Pruned:
    """Remove what is asked for. Raises LedgerUnavailable; what was removed by then is removed, the rest is not.
    UnknownName for a tenant that no session is of.
    """
    async with ledger.reader() as conn:  # there is a ledger: none is made for this
        await _check_tenant(conn, ledger, asked)
    connection = await ledger.connect()
    removed = {records: 0, sums: 0, parts: 0}
    try:
        async with connection.transaction() as conn:
            until = await reached(conn, asked)
            written = None if until is None else await write_down(conn, replace(asked, until=until), now(), daily=False)
        for table, some in _steps(asked, until):
            since: Micros | None = 0
            while since is not None:
                async with connection.transaction() as conn:
                    gone, since = await remove_some(conn, table, some, since)
                    if written is not None:
                        await count(conn, written, table, gone, now())
                removed[table] += gone
                on_rows(sum(removed.values()))
                await asyncio.sleep(PAUSE_SECONDS)
        if written is not None:
            async with connection.transaction() as conn:
                await close(conn, written, now())
    finally:
        await connection.aclose()
    if not asked.sums:
        return Pruned(asked, removed[records], None, None, dry_run=False)
    return Pruned(asked, removed[records], removed[sums], removed[parts], dry_run=False)


def _steps(asked: Pruning, until: Micros | None) -> list[tuple[sa.Table, Pruning]]:
    """What is written down goes as far as that; sessions that have nothing left, as far as was asked."""
    ends = {records: until, sums: until, parts: asked.until} if asked.sums else {records: until}
    return [(table, replace(asked, until=end)) for table, end in ends.items() if end is not None]


async def would_prune(ledger: StoreLedger, asked: Pruning) -> Pruned:
    """What `prune` would remove. Raises LedgerUnavailable or UnknownName, as it does."""
    async with ledger.reader() as conn:
        await _check_tenant(conn, ledger, asked)
        count = {
            # Parts go when their sums have gone: all that began before and have none later.
            table: int((await conn.execute(_counted(table, asked))).scalar_one())
            for table in ((records, sums, parts) if asked.sums else (records,))
        }
    return Pruned(asked, count[records], count.get(sums), count.get(parts), dry_run=True)


async def _check_tenant(conn: AsyncConnection, ledger: StoreLedger, asked: Pruning) -> None:
    if asked.tenant is None:
        return
    theirs = sa.select(parts.c.key).where(parts.c.tenant == asked.tenant).limit(1)
    if (await conn.execute(theirs)).first() is None:
        raise UnknownName(
            f"no session in {ledger.address} is of tenant {asked.tenant!r}, nothing is removed; expected is a name as "
            "`livekit-tokens top tenants` shows it"
        )


def _counted(table: sa.Table, asked: Pruning) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(*old(table, asked, would=True))
