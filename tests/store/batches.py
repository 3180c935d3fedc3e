"""Short ways to say a batch."""

from __future__ import annotations

from collections.abc import Iterable

from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.usage import UsageRecord

START = 1_750_000_000_000_000
"""2025-06-15 15:06:40 UTC."""
SOURCE = Source("source-1", "host", 7, START)
KEY = "0a" * 16
OTHER_KEY = "0b" * 16
SECOND = 1_000_000


def part(key: str = KEY, session_id: str = "room_abc", **changes: object) -> Part:
    return Part(**{"key": key, "session_id": session_id, "started_at": START, "user": "ann", **changes})


def record(key: str = KEY, **changes: object) -> UsageRecord:
    values = {
        "part": key,
        "at": START + SECOND,
        "service": "agent",
        "provider": "openai",
        "model": "gpt-realtime",
        "operation": "realtime_response",
        "units": {"input_text": 10, "output_audio": 5},
    }
    return UsageRecord(**{**values, **changes})


def batch(
    *records: UsageRecord,
    before: Checkpoint | None = None,
    parts: Iterable[Part] = (),
    stays: Iterable[Stay] = (),
    source: Source = SOURCE,
    lost: int = 0,
    first_seq: int | None = None,
) -> Batch:
    seq = (before.seq if before else 0) + 1 if first_seq is None else first_seq
    numbered = tuple(enumerate(records, seq))
    offset = (before.offset if before else 0) + 100
    after = Checkpoint(1, offset, seq + len(records) - 1)
    return Batch(source, before, after, tuple(parts), tuple(stays), numbered, lost)
