"""Sessions, their parts, and who was in the room."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.times import Micros

Status = Literal["open", "closed", "abandoned"]

AFTERWARDS = "afterwards"
"""The close reason of a part that was spent when its call was over."""

BY_HAND = "by_hand"
"""The close reason of a part that nobody opened: its session was only named where it was recorded by hand."""

IN_A_GAP = "lost_in_a_gap"
"""Why a part is over whose own end was never read: its spool was damaged, removed, or older than a restored backup."""

SILENT: Micros = DAY
"""Whose process has brought nothing for so long has ended, or cannot reach the ledger: no call is so long without a
request. Ours."""

NOT_HEARD_OF = "not_heard_of"
"""Why a part that nobody has ended is read as over: its process is silent. What that brings later, counts."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_SUFFIX_DIGITS = 9


def session_id(room_name: str, room_sid: str) -> str:
    """The id that every process in a room computes for itself: `<room name>_<suffix of the room's SID>`."""
    return f"{room_name}_{suffix(int.from_bytes(hashlib.sha256(room_sid.encode()).digest()))}"


def suffix(number: int) -> str:
    """Nine base-36 digits of `number`, most significant first."""
    number %= 36**_SUFFIX_DIGITS
    digits = []
    for _ in range(_SUFFIX_DIGITS):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


@dataclass(frozen=True, slots=True)
class Part:
    """One tracked AgentSession (or `usage_session`) in one process.

    `key` is 16 bytes in hex; records and sums refer to it, so that erasing a person touches no key.
    A part's line is written whole at every change; the last one counts.
    """

    key: str
    session_id: str
    started_at: Micros
    room: str | None = None
    job: str | None = None
    agent_name: str | None = None
    user: str | None = None
    user_name: str | None = None
    tenant: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    status: Status = "open"
    ended_at: Micros | None = None
    close_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Stay:
    """One participant's time in the room, as one part saw it. `sid` tells two stays of one identity apart; `sip`: they
    are on the telephone.
    """

    part: str
    sid: str
    identity: str | None
    name: str | None
    joined_at: Micros
    left_at: Micros | None = None
    sip: bool = False


def ended(part: Part, at: Micros, reason: str | None, *, abandoned: bool = False) -> Part:
    """The part as it is once it has ended: not before it began, whatever the wall clock has done meanwhile."""
    status: Status = "abandoned" if abandoned else "closed"
    return replace(part, status=status, ended_at=max(at, part.started_at), close_reason=reason)


def as_heard_of(part: Part, heard_at: Micros, now: Micros) -> Part:
    """An open part as it is read at a moment: over since its process was last heard of, where that is SILENT."""
    if part.status != "open" or now - heard_at <= SILENT:
        return part
    return ended(part, heard_at, NOT_HEARD_OF, abandoned=True)


def of_session(part: Part, first: Part) -> Part:
    """A part that nobody opened, as its session's `first` one says it; but for a user or tenant of its own."""
    user = part.user or first.user
    return replace(
        part,
        user=user,
        user_name=part.user_name or (first.user_name if user == first.user else None),
        tenant=part.tenant or first.tenant,
        tags={**part.tags, **first.tags},
    )


def left(stay: Stay, at: Micros) -> Stay:
    """The stay as it is once they have left: not before they came."""
    return replace(stay, left_at=max(at, stay.joined_at))


def why_ended(parts: Iterable[Part]) -> str | None:
    """Why a session that is over ended: as the last part of its call did, whatever was spent afterwards."""
    last = max(parts, key=lambda part: (part.close_reason != AFTERWARDS, part.ended_at or 0))
    return last.close_reason


def call_time(parts: Iterable[Part], now: Micros) -> Micros:
    """How long a call went on, of one session: a moment in which two of its parts ran (the agent and a transcriber of
    its own) is one moment of the call, and one between two parts is none. A part that is open runs until `now`; one
    without a room or a job (imported, or by hand) is none of a call: nobody was on the line for it.
    """
    length = reached = 0
    of_calls = [p for p in parts if p.room is not None or p.job is not None]
    for started, ended_at in sorted((p.started_at, now if p.ended_at is None else p.ended_at) for p in of_calls):
        length += max(0, ended_at - max(started, reached))
        reached = max(reached, ended_at)
    return length


def state_of(statuses: Iterable[Status]) -> Status:
    """A session is open while any part is open, else abandoned if any part is, else closed."""
    seen = set(statuses)
    if "open" in seen:
        return "open"
    return "abandoned" if "abandoned" in seen else "closed"
