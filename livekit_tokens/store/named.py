"""Parts whose session was only named where they were recorded: they are its user's, whichever process opened it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from zlib import crc32

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.erasure import Forgotten
from livekit_tokens.domain.sessions import Part, of_session
from livekit_tokens.domain.times import Micros
from livekit_tokens.store.keeping.forgotten import parts_of, recall, write_again
from livekit_tokens.store.locks import briefly
from livekit_tokens.store.statements import named_only

_HELD = int.from_bytes(b"lknamed\0") % 2**63
"""The first of PostgreSQL's advisory locks of sessions."""
_STRIPES = 64
"""Sessions share so many of them: a server has room for some thousands in all."""

_AT_ONCE = 10_000
"""Sessions that a statement names: PostgreSQL takes 32,767 values."""

_hold = sa.text("SELECT pg_advisory_xact_lock(held) FROM unnest(CAST(:held AS bigint[])) AS held")


async def hold_sessions(conn: AsyncConnection, arrived: Iterable[Part]) -> None:
    """Until the commit nobody else writes parts of these sessions, before any of them is written: of two processes
    that tell of one session at once, the second sees what the first has written. SQLite has one writer anyway.

    Raises LedgerUnavailable where somebody holds one for long: who waits holds others' up to there.
    """
    if conn.dialect.name == "postgresql" and (held := {_lock_of(part.session_id) for part in arrived}):
        async with briefly(conn):
            await conn.execute(_hold, {"held": sorted(held)})


def _lock_of(session: str) -> int:
    return _HELD + crc32(session.encode("utf-8", "replace")) % _STRIPES


async def complete_named(conn: AsyncConnection, arrived: Iterable[Part], forgotten: Forgotten | None) -> None:
    """Such parts of the sessions that a batch tells of get what their session's first part says; whichever of the two
    came first. In the batch's transaction, after its parts are written, as each line of a part is written whole.

    What was erased is nobody's; what begins after it in such a session is the next one's who opens it.
    """
    sessions = sorted({part.session_id for part in arrived})
    for begin in range(0, len(sessions), _AT_ONCE):
        await _complete(conn, sessions[begin : begin + _AT_ONCE], forgotten)


async def _complete(
    conn: AsyncConnection, sessions: list[str], forgotten: Forgotten | None, after: Micros = -1
) -> None:
    asked = {"sessions": sessions, "after": after}
    found = [row for row in await conn.execute(named_only, asked) if row.first is not None]
    keys = {key.hex() for row in found for key in row}
    if forgotten is not None:
        await recall(conn, forgotten, {forgotten.digest("part", key) for key in keys})
    erased = {key: at for key in keys if forgotten and (at := forgotten.at("part", key)) is not None}
    there = {part.key: part for part in await parts_of(conn, keys)}
    of_erased: defaultdict[Micros, set[str]] = defaultdict(set)
    for row in found:
        part, first = there[row.key.hex()], there[row.first.hex()]
        if first.key in erased:
            of_erased[erased[first.key]].add(part.session_id)
        elif part.key not in erased and (whole := of_session(part, first)) != part:
            await write_again(conn, whole)
    for at, again in of_erased.items():
        await _complete(conn, sorted(again), forgotten, at)
