"""A usage record: one billable request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, dataclass_transform, get_args

from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.units import Units

Provenance = Literal["reported", "estimated", "unknown"]
"""reported: the provider's own figures. estimated: ours, where the provider's were cut off or do not exist.
unknown: a request happened, and nothing can be said about its size."""

PROVENANCES: tuple[Provenance, ...] = get_args(Provenance)

UNKNOWN_FEATURE = "unknown"

CACHE_SERVICE = "cache"
"""What the application's own cache answered: it cost nothing, and has the cache's layer for its model."""

KINDS = ("stt", "llm", "tts", "other")
KIND_OF = {"transcriber": "stt", "agent": "llm", "tts": "tts"}
"""What kind of spending a service is: `llm` is the language or the speech-to-speech model. All others are `other`."""

EXPORTED_KEY = "import:record:"
"""So begins the idempotency key of a record that was imported as a ledger had exported it. Behind it is the id that it
has there: the same record, through however many ledgers it comes."""

STRETCH_KEY = "session_minutes/"
"""So begins the idempotency key of a record that is a stretch of time (`domain.stretches`)."""

OWN_KEYS = ("import:", STRETCH_KEY)
"""So begin the idempotency keys that we give, and no caller's does."""

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def frozen_for_readers(cls: type[_T]) -> type[_T]:
    """A dataclass that the type checker holds to be frozen, and the interpreter does not.

    Records are made on a call's path: enforcing it there costs 3 us each, 20 times what it costs here.
    """
    return dataclass(slots=True)(cls)


@frozen_for_readers
class UsageRecord:
    """One billable request, as it was settled. Quantities are never edited afterwards.

    `part` is the 16-byte key (32 hex digits) of the part of a session that spent it, `at` the wall clock
    at settlement. `units` are billed; `informational` units only inform (Whisper's tokens) and are always
    estimates. `low` and `high` bound an estimate where bounds can be given. Durations come from a
    monotonic clock, in milliseconds. `request_id` is the provider's and may be empty or reused: it is never
    a key. `error` holds an error's class, never its text. `metadata` holds counts and labels, never what was said.
    """

    part: str
    at: Micros
    service: str
    provider: str
    model: str
    operation: str
    units: Units
    provenance: Provenance = "reported"
    informational: Units = field(default_factory=dict)
    low: Units | None = None
    high: Units | None = None
    agent: str | None = None
    feature: str = UNKNOWN_FEATURE
    success: bool = True
    error: str | None = None
    processing_ms: int | None = None
    first_output_ms: int | None = None
    request_id: str | None = None
    idempotency_key: str | None = None
    quality_score: float | None = None
    safety_score: float | None = None
    metadata: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
