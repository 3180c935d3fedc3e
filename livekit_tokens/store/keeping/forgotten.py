"""Whom the ledger has forgotten, looked up for what arrives: nobody comes back by a spool that is late."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.ledger import Batch
from livekit_tokens.domain.erasure import Forgotten, is_sealed, texts_of, texts_of_record
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import STRETCH_KEY
from livekit_tokens.store.rolling import drop_unrolled
from livekit_tokens.store.schema import erasure_keys, erasures, idempotency, parts, records
from livekit_tokens.store.values import part_of

KEY_NAME = "hmac-sha256"
KEY = sa.select(erasure_keys.c.value).where(erasure_keys.c.name == KEY_NAME)
_AT_ONCE = 500


async def forgotten_here(conn: AsyncConnection) -> Forgotten | None:
    """To look up in whom the ledger has forgotten; None: nobody yet."""
    key = (await conn.execute(KEY)).scalar()
    return None if key is None else Forgotten(bytes(key))


async def without_forgotten(conn: AsyncConnection, forgotten: Forgotten, batch: Batch) -> Batch:
    """The batch without whom the ledger has forgotten; the same batch, if it tells of nobody like that.

    In the transaction that writes it, so that no erasure comes in between.
    """
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


async def recall(conn: AsyncConnection, forgotten: Forgotten, asked: Collection[bytes]) -> None:
    """Look these digests up, which are remembered."""
    digests = sorted(asked)
    for begin in range(0, len(digests), _AT_ONCE):
        some = erasures.c.digest.in_(digests[begin : begin + _AT_ONCE])
        for told, at in await conn.execute(sa.select(erasures).where(some)):
            forgotten.known[told] = max(at, forgotten.known.get(told, at))


async def remember(conn: AsyncConnection, digests: dict[bytes, int]) -> None:
    insert = _insert(conn, erasures)
    latest = insert.on_conflict_do_update(
        index_elements=[erasures.c.digest],
        set_={"at": insert.excluded.at},
        where=insert.excluded.at > erasures.c.at,
    )
    await conn.execute(latest, [{"digest": digest, "at": at} for digest, at in sorted(digests.items())])


async def rename(conn: AsyncConnection, forgotten: Forgotten, names: list[tuple[str, str | None]]) -> None:
    """Sessions and rooms whose names are to be forgotten, in all their parts of before that."""
    for session in sorted({session for session, _ in names}):
        if (at := forgotten.at("session", session)) is not None:
            of_session = sa.and_(parts.c.session_id == session, parts.c.started_at <= at)
            await seal_keys(conn, forgotten, of_session)
            new = forgotten.neutral("session", session)
            await conn.execute(sa.update(parts).where(of_session).values(session_id=new))
    for room in sorted({room for _, room in names if room}):
        if (at := forgotten.at("room", room)) is not None:
            in_room = sa.and_(parts.c.room == room, parts.c.started_at <= at)
            await conn.execute(sa.update(parts).where(in_room).values(room=forgotten.neutral("room", room)))
    await drop_unrolled(conn)


async def seal_keys(conn: AsyncConnection, forgotten: Forgotten, of_parts: sa.ColumnElement[bool]) -> None:
    """Idempotency keys of these parts stay known, by digests that tell nothing of them, nor of the session's name: by
    the neutral one, where that is to be forgotten. Of a record that is pruned the key is not there to be digested anew:
    that one is known by the old name alone.
    """
    same = sa.and_(records.c.part == idempotency.c.part, records.c.seq == idempotency.c.seq)
    there = idempotency.join(parts, parts.c.key == idempotency.c.part).outerjoin(records, same)
    keyed = sa.select(idempotency, parts.c.session_id, records.c.idempotency_key).select_from(there)
    gone, sealed = [], []
    # What is known of a stretch of time is made of no name.
    for row in await conn.execute(keyed.where(of_parts, idempotency.c.since.is_(None))):
        if row.idempotency_key is not None:
            digest = forgotten.known_as(row.session_id, row.idempotency_key)[-1]
        else:
            digest = row.digest if is_sealed(row.digest) else forgotten.sealed(row.digest)
        if digest != row.digest and not (row.idempotency_key or "").startswith(STRETCH_KEY):
            gone.append({"of": row.digest})
            sealed.append({"digest": digest, "part": row.part, "seq": row.seq})
    if sealed:
        await conn.execute(sa.delete(idempotency).where(idempotency.c.digest == sa.bindparam("of")), gone)
        await conn.execute(_insert(conn, idempotency).on_conflict_do_nothing(), sealed)


def _insert(conn: AsyncConnection, table: sa.Table) -> Any:
    return (postgresql if conn.dialect.name == "postgresql" else sqlite).insert(table)
