"""Whom the ledger has forgotten, looked up for what arrives: nobody comes back by a spool that is late."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.ledger import Batch
from livekit_tokens.domain.erasure import Forgotten
from livekit_tokens.store.schema import erasure_keys, erasures, idempotency, parts

KEY_NAME = "hmac-sha256"
KEY = sa.select(erasure_keys.c.value).where(erasure_keys.c.name == KEY_NAME)
_AT_ONCE = 500


async def without_forgotten(conn: AsyncConnection, batch: Batch) -> Batch:
    """The batch without whom the ledger has forgotten; the same batch, if it tells of nobody like that.

    In the transaction that writes it, so that no erasure comes in between.
    """
    key = (await conn.execute(KEY)).scalar()
    if key is None:
        return batch
    forgotten = Forgotten(key)
    asked = forgotten.asked_by(batch.parts, batch.stays, {record.part for _, record in batch.records})
    await recall(conn, forgotten, asked)
    if not forgotten.known:
        return batch
    before = dict(forgotten.known)
    told = replace(
        batch,
        parts=tuple(forgotten.part(part) for part in batch.parts),
        stays=tuple(forgotten.stay(stay) for stay in batch.stays),
        records=tuple((seq, forgotten.record(record)) for seq, record in batch.records),
    )
    fresh = {digest: at for digest, at in forgotten.known.items() if before.get(digest) != at}
    if fresh:
        await remember(conn, fresh)
        await rename(conn, forgotten, [(part.session_id, part.room) for part in batch.parts])
    return told


async def recall(conn: AsyncConnection, forgotten: Forgotten, asked: set[bytes]) -> None:
    """Which of these digests are remembered."""
    digests = sorted(asked)
    for begin in range(0, len(digests), _AT_ONCE):
        some = erasures.c.digest.in_(digests[begin : begin + _AT_ONCE])
        for digest, at in await conn.execute(sa.select(erasures).where(some)):
            forgotten.known[digest] = at


async def remember(conn: AsyncConnection, digests: dict[bytes, int]) -> None:
    insert: Any = (postgresql if conn.dialect.name == "postgresql" else sqlite).insert(erasures)
    latest = insert.on_conflict_do_update(index_elements=[erasures.c.digest], set_={"at": insert.excluded.at})
    await conn.execute(latest, [{"digest": digest, "at": at} for digest, at in sorted(digests.items())])


async def rename(conn: AsyncConnection, forgotten: Forgotten, names: list[tuple[str, str | None]]) -> None:
    """Sessions and rooms whose names are to be forgotten, in all their parts."""
    for session in sorted({session for session, _ in names if forgotten.has("session", session)}):
        of_session = sa.select(parts.c.key).where(parts.c.session_id == session)
        # Their digests are made of the session's name.
        await conn.execute(sa.delete(idempotency).where(idempotency.c.part.in_(of_session)))
        new = forgotten.neutral("session", session)
        await conn.execute(sa.update(parts).where(parts.c.session_id == session).values(session_id=new))
    for room in sorted({room for _, room in names if room and forgotten.has("room", room)}):
        await conn.execute(sa.update(parts).where(parts.c.room == room).values(room=forgotten.neutral("room", room)))
