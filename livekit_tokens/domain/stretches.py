"""Time that several parts of a session may have seen: each moment of it counts once. Pure.

A stretch is a record whose idempotency key says so, and ends at the record's time. Of two under one key the later to
come counts with what it adds, at either end; between them it went on, unseen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import STRETCH_KEY, UsageRecord

LEAST_MS = 1000
"""What adds less is not told: two processes see one leave some milliseconds apart."""


class Stretch(NamedTuple):
    since: Micros
    until: Micros


def stretch_of(record: UsageRecord) -> Stretch:
    return Stretch(record.at - record.units["session_ms"] * 1000, record.at)


def is_stretch(record: UsageRecord) -> bool:
    return (record.idempotency_key or "").startswith(STRETCH_KEY) and record.units.keys() == {"session_ms"}


def grown(told: Stretch | None, record: UsageRecord) -> tuple[Stretch, UsageRecord | None]:
    """What has been told with this record, and the record as it counts; None where it adds nothing."""
    seen = stretch_of(record)
    if told is None:
        return seen, record
    whole = Stretch(min(told.since, seen.since), max(told.until, seen.until))
    more = _ms(whole) - _ms(told)
    if more < LEAST_MS:
        return told, None
    return whole, replace(record, units={"session_ms": more})


def _ms(stretch: Stretch) -> int:
    return (stretch.until - stretch.since) // 1000
