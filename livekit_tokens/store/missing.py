"""What never came home, as the ledger itself knows it: records that are counted as lost, calls that nobody ended."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator

import sqlalchemy as sa

from livekit_tokens.core.findings import Finding
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.receipts import counted
from livekit_tokens.domain.sessions import SILENT
from livekit_tokens.domain.times import Micros, rfc3339
from livekit_tokens.store.address import Address, SqliteAddress, address_of
from livekit_tokens.store.condition import opened
from livekit_tokens.store.engines import identity_of
from livekit_tokens.store.faults import told
from livekit_tokens.store.migrations import HEAD
from livekit_tokens.store.revision import revision_of
from livekit_tokens.store.schema import parts, sources

_NAMED = 3
"""Hosts that are named; a fleet has many."""

_Source = sa.Row[tuple[str, str, int, int, int]]
"""Id, host, losses, open parts, when it last brought something."""


def look_at_missing(
    database_url: str, host: str, spools: Collection[str], now: Micros, *, stale_after: Micros
) -> Iterator[Finding]:
    """`spools` are the sources whose spools are on this host, which is called `host`: another one of its own that has
    been silent for `stale_after` has lost its spool. A ledger that cannot be asked has been told of already.
    """

    def is_silent(source: _Source) -> bool:
        return source.id not in spools and now - source.updated_at > (stale_after if source.host == host else SILENT)

    try:
        found = asyncio.run(_told_of(address_of(database_url)))
    except LedgerUnavailable:
        return
    yield _losses([source for source in found if source.lost])
    yield _silent([source for source in found if source.open and is_silent(source)])


async def _told_of(address: Address) -> list[_Source]:
    if isinstance(address, SqliteAddress) and identity_of(address.path) is None:
        return []
    running = (
        sa.select(parts.c.source, sa.func.count().label("open"))
        .where(parts.c.status == "open")
        .group_by(parts.c.source)
        .subquery()
    )
    count = sa.func.coalesce(running.c.open, 0)
    query = (
        sa.select(sources.c.id, sources.c.host, sources.c.lost, count.label("open"), sources.c.updated_at)
        .outerjoin_from(sources, running, running.c.source == sources.c.id)
        .where((sources.c.lost > 0) | (count > 0))
    )
    with told(address):
        conn = await opened(address)
        try:
            return list(await conn.execute(query)) if await revision_of(conn) == HEAD else []
        finally:
            await conn.close()


def _losses(found: list[_Source]) -> Finding:
    if not found:
        return Finding("ok", "losses", "the ledger knows of no record that was lost")
    said = f"{sum(source.lost for source in found):,} records were lost before they came here, of {_where(found)}"
    return Finding("note", "losses", said, "these processes' logs say when and why; compare with the provider's bill")


def _silent(found: list[_Source]) -> Finding:
    if not found:
        return Finding("ok", "open calls", "none whose process is gone")
    last = rfc3339(max(source.updated_at for source in found))
    calls = counted(sum(source.open for source in found), "part")
    said = f"open, and nothing comes of them any more: {calls} of {_where(found)}, the last at {last}"
    todo = "recover where their spools are; if those went with their containers, mount a volume for SPOOL_DIR"
    return Finding("note", "open calls", said, todo)


def _where(found: list[_Source]) -> str:
    hosts = sorted({source.host for source in found})
    named = ", ".join(hosts[:_NAMED]) + (" ..." if len(hosts) > _NAMED else "")
    return f"{counted(len(found), 'process', 'processes')} on {named}"
