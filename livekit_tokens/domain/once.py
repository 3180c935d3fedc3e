"""By what a record that counts once a session is known, whoever repeats it. Pure."""

from __future__ import annotations

import hashlib

from livekit_tokens.domain.usage import EXPORTED_KEY


def digest(session_id: str, idempotency_key: str) -> bytes:
    """32 bytes. A record that a ledger has exported is the same one in whichever session it is put."""
    whose = "" if idempotency_key.startswith(EXPORTED_KEY) else session_id
    return hashlib.sha256(f"{whose}\0{idempotency_key}".encode()).digest()
