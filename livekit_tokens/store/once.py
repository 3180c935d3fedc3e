"""Records that count once a session, whoever repeats them: by their idempotency key, in a batch's transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.stretches import Stretch, grown, is_stretch
from livekit_tokens.domain.usage import EXPORTED_KEY
from livekit_tokens.store.rows import Numbered
from livekit_tokens.store.statements import Statements, extend_stretch, sessions_of, stretches_told


async def told_first(conn: AsyncConnection, statements: Statements, keyed: list[Numbered]) -> list[Numbered]:
    """The records whose idempotency key their session has not seen, here or from any other process; of a stretch of
    time, what it adds to those that it has seen."""
    keys = sorted({bytes.fromhex(record.part) for _, record in keyed})
    sessions = {row.key: row.session_id for row in await conn.execute(sessions_of, {"keys": keys})}
    told: dict[bytes, list[Numbered]] = {}
    for seq, record in keyed:
        session = sessions[bytes.fromhex(record.part)]
        # What a stretch is of has an id of its own, which is no other session's.
        whose = "" if is_stretch(record) else session
        told.setdefault(digest(whose, record.idempotency_key or ""), []).append((seq, record))
    rows = [
        {"digest": key, "part": bytes.fromhex(record.part), "seq": seq}
        for key, [(seq, record), *_] in sorted(told.items())
    ]
    fresh = {row.digest for row in await conn.execute(statements.first_told, rows)}
    stretches = {key: same for key, same in told.items() if is_stretch(same[0][1])}
    first = [same[0] for key, same in told.items() if key in fresh and key not in stretches]
    return first + (await _added(conn, stretches, fresh) if stretches else [])


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


def digest(session_id: str, idempotency_key: str) -> bytes:
    # A record that a ledger has exported is the same one in whichever session it is put.
    whose = "" if idempotency_key.startswith(EXPORTED_KEY) else session_id
    return hashlib.sha256(f"{whose}\0{idempotency_key}".encode()).digest()
