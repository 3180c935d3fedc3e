"""What goes on at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from livekit_tokens.core.reports.asking import Question
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.core.reports.sessions import BY_LINE, service_lines
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.summary import SessionSummary, summarize
from livekit_tokens.domain.times import Micros, rfc3339
from livekit_tokens.domain.totals import Totals


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that goes on: what it has spent so far, and of that, what each of its open parts has."""

    session: SessionSummary
    running: tuple[SessionSummary, ...]

    def to_dict(self) -> dict[str, object]:
        return {**self.session.to_dict(), "running": [part.to_dict() for part in self.running]}


@dataclass(frozen=True, slots=True)
class Live:
    """What goes on at a moment, newest first, as far as it is in the ledger. `more`: the limit left some out."""

    at: Micros
    sessions: tuple[LiveSession, ...]
    more: bool = False

    @property
    def totals(self) -> Totals:
        return sum((line.session.totals for line in self.sessions), Totals())

    def to_dict(self) -> dict[str, object]:
        return {
            "time": rfc3339(self.at),
            "totals": {"sessions": len(self.sessions), **self.totals.to_dict()},
            "sessions": [line.to_dict() for line in self.sessions],
            "more": self.more,
        }


async def live_sessions(reader: UsageReader, now: Micros, limit: int) -> Live:
    found = await reader.open_sessions(limit + 1)
    ids = tuple(found[:limit])
    parts = await reader.parts(ids)
    groups = await reader.grouped(Question(BY_LINE, sessions=ids))
    sessions = (_live_session([part for part in parts if part.session_id == i], groups, now) for i in ids)
    return Live(now, tuple(sessions), more=len(found) > limit)


def _live_session(parts: Sequence[Part], groups: Sequence[Group], now: Micros) -> LiveSession:
    def summary_of(some: Sequence[Part]) -> SessionSummary:
        of = {part.key: part for part in some}
        lines = service_lines([group for group in groups if group.key["part"] in of], of)
        return summarize(some, lines, now=now)

    running = sorted((part for part in parts if part.status == "open"), key=lambda part: (part.started_at, part.key))
    return LiveSession(summary_of(parts), tuple(summary_of([part]) for part in running))
