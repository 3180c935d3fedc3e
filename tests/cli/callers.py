"""Callers who call themselves whatever they like, and what their calls spend."""

from __future__ import annotations

import time
from pathlib import Path

from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.times import SECOND
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.connection import StoreLedger

NAMES = (
    "ann",
    'Müller, "Bob"',
    "=1+1",
    "two\nlines",
    "🎉 party",
    "אבג \u202eevil",
    "-2+3",
    "@SUM(A1)",
    "\t=cmd",
    "<b>Tom</b> & co",
    None,
)
DAY = 24 * 3600 * SECOND


async def write_calls(folder: Path) -> None:
    """A session of each name, today and yesterday; costs grow with the number, the last one's are not known."""
    now = time.time_ns() // 1000
    parts, stays, records = [], [], []
    for number, name in enumerate(NAMES, 1):
        begun = now - number % 2 * DAY - 600 * SECOND
        part = Part(
            f"{number:032x}",
            f"room_{number}",
            begun,
            room="room",
            user=name,
            user_name=name,
            tenant=f"t{number % 3}",
            status="closed",
            ended_at=begun + 300 * SECOND,
        )
        parts.append(part)
        stays.append(Stay(part.key, "PA_1", name, name, begun + SECOND, begun + 290 * SECOND))
        records += turns(part, number)
    numbered = tuple(enumerate(records, 1))

    def pricing(record: UsageRecord) -> Price:
        known = record.part != parts[-1].key
        return Price(record.units.get("input_text", 0) * 1_000_003, 7) if known else Price()

    ledger = StoreLedger(f"sqlite:///{folder / 'ledger.db'}", pricing=pricing)
    connection = await ledger.connect()
    batch = Batch(Source("s", "h", 1, now), None, Checkpoint(1, 1, len(records)), tuple(parts), tuple(stays), numbered)
    assert await connection.apply(batch)
    await connection.aclose()
    await ledger.aclose()


def turns(part: Part, number: int) -> list[UsageRecord]:
    def record(after: int, service: str, model: str, operation: str, **changes: object) -> UsageRecord:
        at = part.started_at + after * SECOND
        return UsageRecord(part.key, at, service, "openai", model, operation, **changes)

    heard = {"units": {"audio_ms": 1000}, "informational": {"input_audio": 10}}
    return [
        record(10, "transcriber", "whisper-1", "transcription", **heard),
        record(12, "agent", "m", "chat_completion", units={"input_text": 100 * number}, processing_ms=900 + number),
        record(20, "transcriber", "whisper-1", "transcription", **heard),
        record(22, "agent", "m", "chat_completion", units={"input_text": 3}, success=False, error="APIError"),
    ]
