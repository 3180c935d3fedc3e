"""Recorders, parts and records for the tests of core."""

from __future__ import annotations

import itertools
from pathlib import Path

from livekit_tokens.core.estimates.output import Usual
from livekit_tokens.core.estimates.prompt import Expected
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.lines import Done, Line, Pend, Use, counts_in
from livekit_tokens.core.pending import settled
from livekit_tokens.core.reading import readings
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord

KEY = "0123456789abcdef" * 2
_ids = itertools.count()


def a_recorder(root: Path) -> Recorder:
    clock = itertools.count(1_000_000, 1000)
    return Recorder(root, Source(f"source{next(_ids)}", "here", 1, 0), lambda: next(clock))


def a_part(key: str = KEY, **fields: object) -> Part:
    return Part(key=key, session_id="room_1", started_at=1_000_000, **fields)


def a_record(at: int = 5_000_000, key: str = KEY, **fields: object) -> UsageRecord:
    given = {
        "service": "agent",
        "provider": "openai",
        "model": "gpt-realtime",
        "operation": "realtime_response",
        "units": {"input_text": 100, "output_audio": 50},
    } | fields
    return UsageRecord(part=key, at=at, **given)


def a_pend(name: str = "r1.1", at: int = 6_000_000) -> Pend:
    read = Expected((40, 60, 0), (0, 0, 0), (0, 0, 0), (1.0, 0.0, 1.0), calibrated=True)
    return Pend(name, at, a_record(at, units={}, provenance="estimated", request_id="resp_1"), read, Usual())


def a_done(name: str = "r1.1", at: int = 8_000_000, **fields: object) -> Done:
    """What the provider tells of `a_pend`'s end: 100 text tokens in, 40 of them cached, and 50 of audio out."""
    read = {"text_tokens": 100, "audio_tokens": 0, "cached_tokens_details": {"text_tokens": 40}}
    usage = {
        "input_tokens": 100,
        "output_tokens": 50,
        "input_token_details": read,
        "output_token_details": {"audio_tokens": 50},
    }
    given = {"counts": counts_in(usage), "status": "completed", "processing_ms": 2000, "request_id": "resp_1"} | fields
    return Done(name, at, **given)


def a_made_record(done: Done) -> UsageRecord:
    """What that comes to."""
    return settled(a_pend(done.id), done)


def lines_in(folder: Path, segment: int = 1) -> list[Line]:
    """Every readable line of a spool from the beginning of a segment on."""
    return [found.line for reading in readings(folder, segment) for found in reading.lines]


def a_use(seq: int) -> Use:
    """The line of a record without a part of its own, told by its number."""
    return Use(
        seq,
        UsageRecord(
            part="0" * 32,
            at=seq,
            service="agent",
            provider="openai",
            model="gpt-realtime",
            operation="realtime_response",
            units={"input_text": seq},
        ),
    )
