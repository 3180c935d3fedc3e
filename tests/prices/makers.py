"""Usage records to price, on a day that the published prices are known for."""

from __future__ import annotations

from datetime import UTC, datetime

from livekit_tokens.domain.times import Micros, to_micros
from livekit_tokens.domain.usage import UsageRecord

DAY: Micros = to_micros(datetime(2026, 11, 22, tzinfo=UTC))
GOLDEN = {"input_text": 43, "input_audio": 32, "cached_input_audio": 64, "output_text": 18, "output_audio": 43}


def used(provider: str, model: str, units: dict, at: Micros = DAY, **more) -> UsageRecord:
    return UsageRecord("ab" * 16, at, "agent", provider, model, "chat_completion", units, **more)
