"""One session as it went: who came and left, its turns, each request with what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.core.reports.sessions import one_session
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.summary import RecordLine, SessionSummary
from livekit_tokens.domain.times import Micros, rfc3339, to_micros

What = Literal["part_began", "joined", "request", "left", "part_ended"]

_AT_ONE_MOMENT: tuple[What, ...] = ("part_began", "joined", "request", "left", "part_ended")
"""The order in which things stand that happened in the same microsecond."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `after` is how long after the session's start, in microseconds.

    `name` is who joined or left (as shown, else the identity), or which agent or job began or ended; `turn` is the
    number of the turn that a request belongs to.
    """

    at: Micros
    after: Micros
    what: What
    name: str | None = None
    detail: str | None = None
    turn: int | None = None
    line: RecordLine | None = None

    def to_dict(self) -> dict[str, object]:
        return {
            "time": rfc3339(self.at),
            "after_ms": self.after // 1000,
            "what": self.what,
            "name": self.name,
            "detail": self.detail,
            "turn": self.turn,
            "record": None if self.line is None else self.line.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Timeline:
    """A session's events, oldest first. Requests stand where they were settled."""

    session: SessionSummary
    events: tuple[Event, ...]

    @property
    def turns(self) -> int:
        return max((event.turn or 0 for event in self.events), default=0)

    def to_dict(self) -> dict[str, object]:
        return {
            **self.session.to_dict(),
            "turns": self.turns,
            "events": [event.to_dict() for event in self.events],
        }


async def timeline(reader: UsageReader, session_id: str, now: Micros) -> Timeline:
    """Raises UnknownSession."""
    whole = await one_session(reader, session_id, now, records=True)
    start = to_micros(whole.started_at)
    lines = whole.records or ()
    found = [*_of_parts(whole.parts, start), *_of_stays(whole.participants, start), *_of_records(lines, start)]
    found.sort(key=lambda event: (event.at, _AT_ONE_MOMENT.index(event.what)))
    return Timeline(whole, tuple(found))


def turns_of(lines: Sequence[RecordLine]) -> list[int]:
    """The number of the turn that each record belongs to, from 1. The ledger holds no turns: they are read off it.

    A turn begins with what was heard of the caller after the agent had answered; in a session without a transcriber,
    with each of the agent's own requests.
    """
    heard = any(line.record.service == "transcriber" for line in lines)
    opens = "transcriber" if heard else "agent"
    turns, turn, answered = [], 1, False
    for line in lines:
        if line.record.service == opens and answered:
            turn, answered = turn + 1, False
        answered = answered or line.record.service == "agent"
        turns.append(turn)
    return turns


def _of_parts(parts: Iterable[Part], start: Micros) -> Iterator[Event]:
    for part in parts:
        name = part.agent_name or part.job
        yield Event(part.started_at, part.started_at - start, "part_began", name)
        if part.status != "open" and part.ended_at is not None:
            detail = part.status if part.close_reason is None else f"{part.status}, {part.close_reason}"
            yield Event(part.ended_at, part.ended_at - start, "part_ended", name, detail)


def _of_stays(stays: Iterable[Stay], start: Micros) -> Iterator[Event]:
    for stay in stays:
        name = stay.name or stay.identity
        yield Event(stay.joined_at, stay.joined_at - start, "joined", name)
        if stay.left_at is not None:
            yield Event(stay.left_at, stay.left_at - start, "left", name)


def _of_records(lines: Sequence[RecordLine], start: Micros) -> Iterator[Event]:
    for line, turn in zip(lines, turns_of(lines), strict=True):
        at = line.record.at
        yield Event(at, at - start, "request", line.record.agent, turn=turn, line=line)
