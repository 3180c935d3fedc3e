"""Parts whose session was only named where they were recorded: they are its user's, whichever process opened it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.sessions import Part, of_session
from livekit_tokens.store.keeping.forgotten import parts_of, write_again
from livekit_tokens.store.statements import named_only


async def complete_named(conn: AsyncConnection, arrived: Iterable[Part]) -> None:
    """Such parts of the sessions that a batch tells of get what their session's first part says; whichever of the two
    came first. In the batch's transaction, after its parts are written, as each line of a part is written whole.
    """
    sessions = sorted({part.session_id for part in arrived})
    if not sessions:
        return
    found = [row for row in await conn.execute(named_only, {"sessions": sessions}) if row.first is not None]
    there = {part.key: part for part in await parts_of(conn, {key.hex() for row in found for key in row})}
    for row in found:
        part = there[row.key.hex()]
        whole = of_session(part, there[row.first.hex()])
        if whole != part:
            await write_again(conn, whole)
