"""Whom the ledger has forgotten, looked up for what arrives: nobody comes back by a spool that is late."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.ledger import Batch
from livekit_tokens.domain.erasure import Forgotten, texts_of, texts_of_record
from livekit_tokens.domain.sessions import Part
from livekit_tokens.store.schema import erasure_keys, erasures, idempotency, parts
from livekit_tokens.store.values import part_of

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
    return await _told_without(conn, forgotten, batch)


async def _told_without(conn: AsyncConnection, forgotten: Forgotten, batch: Batch) -> Batch:
    seen = forgotten.seen(batch.parts, batch.stays, {record.part for _, record in batch.records})
    # A stay may come after its part: then the part is in the ledger, under a name that nobody knew to be theirs.
    arrived = {part.key for part in batch.parts}
    there = await parts_of(conn, seen.keys() & {stay.part for stay in batch.stays} - arrived)
    texts = (text for part in (*batch.parts, *there) if part.key in seen for text in texts_of(part))
    labels = (text for _, record in batch.records if record.part in seen for text in texts_of_record(record))
    await recall(conn, forgotten, forgotten.names_in((*texts, *labels)))
    before = dict(forgotten.known)
    told = replace(
        batch,
        parts=tuple(forgotten.part(part, seen.get(part.key)) for part in batch.parts),
        stays=tuple(forgotten.stay(stay) for stay in batch.stays),
        records=tuple((seq, forgotten.record(record, seen.get(record.part))) for seq, record in batch.records),
    )
    for part in there:
        await write_again(conn, forgotten.part(part, seen[part.key]))
    fresh = {digest: at for digest, at in forgotten.known.items() if before.get(digest) != at}
    if fresh:
        await remember(conn, fresh)
        await rename(conn, forgotten, [(part.session_id, part.room) for part in (*batch.parts, *there)])
    return told


async def parts_of(conn: AsyncConnection, keys: Collection[str]) -> list[Part]:
    if not keys:
        return []
    told = sa.select(parts).where(parts.c.key.in_([bytes.fromhex(key) for key in sorted(keys)]))
    return [part_of(row) for row in await conn.execute(told)]


async def write_again(conn: AsyncConnection, part: Part) -> None:
    """What may name a person in a part, but for its session and room: these are renamed in all parts."""
    values = {
        "user_id": part.user,
        "user_name": part.user_name,
        "tenant": part.tenant,
        "agent_name": part.agent_name,
        "tags": dict(part.tags),
    }
    await conn.execute(sa.update(parts).where(parts.c.key == bytes.fromhex(part.key)).values(values))


async def recall(conn: AsyncConnection, forgotten: Forgotten, asked: set[bytes]) -> None:
    """Which of these digests are remembered."""
    digests = sorted(asked)
    for begin in range(0, len(digests), _AT_ONCE):
        some = erasures.c.digest.in_(digests[begin : begin + _AT_ONCE])
        for told, at in await conn.execute(sa.select(erasures).where(some)):
            forgotten.known[told] = at


async def remember(conn: AsyncConnection, digests: dict[bytes, int]) -> None:
    insert: Any = (postgresql if conn.dialect.name == "postgresql" else sqlite).insert(erasures)
    latest = insert.on_conflict_do_update(
        index_elements=[erasures.c.digest],
        set_={"at": insert.excluded.at},
        where=insert.excluded.at > erasures.c.at,
    )
    await conn.execute(latest, [{"digest": digest, "at": at} for digest, at in sorted(digests.items())])


async def rename(conn: AsyncConnection, forgotten: Forgotten, names: list[tuple[str, str | None]]) -> None:
    """Sessions and rooms whose names are to be forgotten, in all their parts."""
    for session in sorted({session for session, _ in names if forgotten.has("session", session)}):
        of_session = idempotency.c.part.in_(sa.select(parts.c.key).where(parts.c.session_id == session))
        # Their digests are made of the session's name; those of stretches of time are not, and stay known.
        await conn.execute(sa.delete(idempotency).where(of_session, idempotency.c.since.is_(None)))
        new = forgotten.neutral("session", session)
        await conn.execute(sa.update(parts).where(parts.c.session_id == session).values(session_id=new))
    for room in sorted({room for _, room in names if room and forgotten.has("room", room)}):
        await conn.execute(sa.update(parts).where(parts.c.room == room).values(room=forgotten.neutral("room", room)))
