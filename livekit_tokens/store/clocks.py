"""Clocks that were ahead, as the ledger shows them: what is removed by one of them is removed too early."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from livekit_tokens.core.findings import Finding
from livekit_tokens.core.waiting import age_text
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.times import Micros, rfc3339
from livekit_tokens.store.address import Address, SqliteAddress, address_of
from livekit_tokens.store.condition import opened
from livekit_tokens.store.engines import identity_of
from livekit_tokens.store.faults import told
from livekit_tokens.store.keeping.removal import CLOCKS_DIFFER, server_time
from livekit_tokens.store.migrations import HEAD
from livekit_tokens.store.revision import revision_of
from livekit_tokens.store.schema import prunings, records

_SUBJECT = "clocks"
_TODO = "set that machine's clock, and keep it set (NTP)"


@dataclass(frozen=True, slots=True)
class _Times:
    """The server's own (a file has none), the newest record's, the newest pruning's, how far the prunings reach."""

    server: Micros | None
    record: Micros
    pruning: Micros
    pruned: Micros


def look_at_clocks(database_url: str, now: Micros) -> Iterator[Finding]:
    """This machine's clock beside the server's, and what the ledger has from the future. A ledger that cannot be asked
    has been told of already.
    """
    try:
        times = asyncio.run(_times(address_of(database_url)))
    except LedgerUnavailable:
        return
    found = [] if times is None else list(_told_of(times, now))
    yield from found or [Finding("ok", _SUBJECT, "nothing in the ledger is of the future")]


def _told_of(times: _Times, now: Micros) -> Iterator[Finding]:
    if times.server is not None and abs(now - times.server) > CLOCKS_DIFFER:
        side = "ahead of" if now > times.server else "behind"
        said = f"this machine's is {age_text(abs(now - times.server))} {side} the server's"
        yield Finding("fault", _SUBJECT, said, "set the one that is wrong, and keep it set (NTP)")
    if times.record > now + CLOCKS_DIFFER:
        said = f"the ledger has records of the future, the newest of {rfc3339(times.record)}: a clock is or was ahead"
        yield Finding("note", _SUBJECT, said, _TODO)
    if max(times.pruning, times.pruned) > now + CLOCKS_DIFFER:
        said = (
            f"a clock that was ahead ({rfc3339(times.pruning)}) has pruned: records from before "
            f"{rfc3339(times.pruned)} may have gone too early, and reports take that time from sums"
        )
        yield Finding("note", _SUBJECT, said, _TODO)


async def _times(address: Address) -> _Times | None:
    if isinstance(address, SqliteAddress) and identity_of(address.path) is None:
        return None
    newest = (sa.func.max(column) for column in (records.c.at, prunings.c.begun_at, prunings.c.until))
    with told(address):
        conn = await opened(address)
        try:
            if await revision_of(conn) != HEAD:
                return None
            found = [(await conn.execute(sa.select(sa.func.coalesce(latest, 0)))).scalar_one() for latest in newest]
            return _Times(await server_time(conn), *map(int, found))
        finally:
            await conn.close()
