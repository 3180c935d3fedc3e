"""Records that count once a session, whoever repeats them: by their idempotency key, in a batch's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.ledger import Batch
from livekit_tokens.domain.erasure import Forgotten
from livekit_tokens.domain.once import digest
from livekit_tokens.domain.stretches import Stretch, grown, is_stretch
from livekit_tokens.store.keeping.forgotten import recall
from livekit_tokens.store.rows import Numbered
from livekit_tokens.store.schema import idempotency
from livekit_tokens.store.statements import Statements, extend_stretch, sessions_of, stretches_told

_AT_ONCE = 10_000
"""Digests that a statement names: PostgreSQL takes 32,767 values."""


class AsTold(NamedTuple):
    """What a batch said before whom the ledger has forgotten was taken from it: keys by the records' numbers, sessions
    by their parts."""

    keys: Mapping[int, str]
    sessions: Mapping[str, str]


def as_told(batch: Batch) -> AsTold:
    keys = {seq: record.idempotency_key for seq, record in batch.records if record.idempotency_key is not None}
    return AsTold(keys, {part.key: part.session_id for part in batch.parts} if keys else {})


async def told_first(
    conn: AsyncConnection, statements: Statements, keyed: list[Numbered], told: AsTold, forgotten: Forgotten | None
) -> list[Numbered]:
    """The records whose idempotency key their session has not seen, here or from any other process; of a stretch of
    time, what it adds to those that it has seen."""
    keys = sorted({bytes.fromhex(record.part) for _, record in keyed})
    sessions = {row.key.hex(): row.session_id for row in await conn.execute(sessions_of, {"keys": keys})}
    sessions |= told.sessions
    if forgotten is not None:
        await recall(conn, forgotten, {forgotten.digest("session", session) for session in sessions.values()})
    same: dict[bytes, list[Numbered]] = {}
    also: dict[bytes, bytes] = {}
    for seq, record in keyed:
        # What a stretch is of has an id of its own, which is no other session's, and names nobody.
        session, whom = ("", None) if is_stretch(record) else (sessions[record.part], forgotten)
        *others, known_as = digests(session, told.keys[seq], whom)
        also |= dict.fromkeys(others, known_as)
        same.setdefault(known_as, []).append((seq, record))
    for there in await _among(conn, also):
        same.pop(also[there], None)
    if not same:
        return []
    rows = [
        {"digest": key, "part": bytes.fromhex(record.part), "seq": seq}
        for key, [(seq, record), *_] in sorted(same.items())
    ]
    fresh = {row.digest for row in await conn.execute(statements.first_told, rows)}
    stretches = {key: those for key, those in same.items() if is_stretch(those[0][1])}
    first = [those[0] for key, those in same.items() if key in fresh and key not in stretches]
    return first + (await _added(conn, stretches, fresh) if stretches else [])


def digests(session_id: str, idempotency_key: str, forgotten: Forgotten | None) -> tuple[bytes, ...]:
    """By any of which a record may be known; the last one is that by which it is known from now on."""
    if forgotten is None:
        return (digest(session_id, idempotency_key),)
    return forgotten.known_as(session_id, idempotency_key)


async def _among(conn: AsyncConnection, digests: Iterable[bytes]) -> list[bytes]:
    """Which of these digests are of records that were told."""
    asked = list(digests)
    found: list[bytes] = []
    for begin in range(0, len(asked), _AT_ONCE):
        some = idempotency.c.digest.in_(asked[begin : begin + _AT_ONCE])
        found += (await conn.execute(sa.select(idempotency.c.digest).where(some))).scalars()
    return found


async def _added(conn: AsyncConnection, stretches: Mapping[bytes, list[Numbered]], fresh: set[bytes]) -> list[Numbered]:
    """Stretches of time as what they add to what the ledger has been told of each."""
    added: list[Numbered] = []
    wholes = []
    for row in await conn.execute(stretches_told, {"digests": list(stretches)}):
        if row.since is None and row.digest not in fresh:
            continue  # told to a version that did not keep how much
        whole = None if row.since is None else Stretch(row.since, row.until)
        for seq, record in stretches[row.digest]:
            whole, more = grown(whole, record)
            if more is not None:
                added.append((seq, more))
        if whole is not None:
            wholes.append({"of": row.digest, "whole_since": whole.since, "whole_until": whole.until})
    if wholes:
        await conn.execute(extend_stretch, wholes)
    return added
