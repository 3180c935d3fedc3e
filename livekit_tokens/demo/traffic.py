"""Plausible traffic: calls of a year with all their records, though nobody has called. Pure: the same for a seed.

What it is for: seeing the reports with something in them, and measuring them at any size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from livekit_tokens.demo.rhythm import Rhythm
from livekit_tokens.demo.turns import LONGEST_CALL, records_of_call
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.sessions import Part, Stay, ended, session_id
from livekit_tokens.domain.times import SECOND, Micros
from livekit_tokens.domain.usage import UsageRecord

_USERS, _TENANTS = 3_000, 12
_LASTING_ROOMS = ("front-desk", "hotline", "bookings", "after-hours")
_NAMES = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Frances", "Ken", "Margaret", "Niklaus", "Radia")
_REASONS = ("participant_disconnected", "participant_disconnected", "participant_disconnected", "user_initiated")
_ABANDONED = 0.015
"""The share of calls whose process was killed."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the ledger gets it: its part as it ended, who was there, and what was billed, in order of time."""

    part: Part
    stay: Stay
    records: list[UsageRecord]


def traffic(period: Period, records: int, seed: int) -> Iterator[Call]:
    """Calls in order of their start, `records` usage records in all, spread over the period by its rhythm.

    The period must be longer than the longest call.
    """
    rng = random.Random(seed)  # noqa: S311 - plausible, not secret
    rhythm = Rhythm(Period(period.since, period.until - LONGEST_CALL))
    done = 0
    while done < records:
        call = _call(rng, rhythm.at(done / records), records - done)
        done += len(call.records)
        yield call


def _call(rng: random.Random, start: Micros, at_most: int) -> Call:
    key = (start // 1000).to_bytes(6).hex() + f"{rng.getrandbits(80):020x}"
    records = records_of_call(rng, key, start)[:at_most]
    end = records[-1].at + rng.randrange(1, 20) * SECOND
    opened = _part(rng, key, start)
    abandoned = rng.random() < _ABANDONED
    reason = "process_killed" if abandoned else rng.choice(_REASONS)
    stay = Stay(key, f"PA_{rng.getrandbits(48):012x}", opened.user, opened.user_name, start, end)
    return Call(ended(opened, end, reason, abandoned=abandoned), stay, records)


def _part(rng: random.Random, key: str, start: Micros) -> Part:
    # By a power, so that some call often and most of them seldom.
    user, tenant = int(_USERS * rng.random() ** 2.5), int(_TENANTS * rng.random() ** 1.5)
    own_room = rng.random() < 0.6
    room = f"support-{rng.getrandbits(32):08x}" if own_room else rng.choice(_LASTING_ROOMS)
    return Part(
        key=key,
        session_id=session_id(room, f"RM_{rng.getrandbits(64):016x}"),
        started_at=start,
        room=room,
        job=f"AJ_{rng.getrandbits(48):012x}",
        agent_name="reception",
        user=f"user-{user:04d}",
        user_name=f"{_NAMES[user % len(_NAMES)]} {user}",
        tenant=f"tenant-{tenant:02d}",
        tags={"env": "staging" if rng.random() < 0.1 else "prod", "version": rng.choice(("1.3", "1.4"))},
    )
