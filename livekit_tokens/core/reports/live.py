"""What goes on at a moment, as far as the ledger was told.

A process that dies with its spool ends none of its calls. They are left out once it has been silent for so long that
nobody can be on the line; if it is heard of again, they are back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from livekit_tokens.core.reports.asking import Filters, Question
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.reader import Running, UsageReader
from livekit_tokens.core.reports.sessions import BY_LINE, service_lines
from livekit_tokens.domain.sessions import SILENT, Part
from livekit_tokens.domain.summary import SessionSummary, summarize
from livekit_tokens.domain.times import Micros, rfc3339
from livekit_tokens.domain.totals import Totals


@dataclass(frozen=True, slots=True)
class LivePart:
    """An open part with what it has spent so far; `heard_at`: when its process last brought something."""

    summary: SessionSummary
    heard_at: Micros

    def to_dict(self) -> dict[str, object]:
        return {**self.summary.to_dict(), "heard_at": rfc3339(self.heard_at)}


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that goes on: what it has spent so far, and of that, what each of its open parts has."""

    session: SessionSummary
    running: tuple[LivePart, ...]

    @property
    def heard_at(self) -> Micros:
        return max(part.heard_at for part in self.running)

    def to_dict(self) -> dict[str, object]:
        return {**self.session.to_dict(), "running": [part.to_dict() for part in self.running]}


@dataclass(frozen=True, slots=True)
class Live:
    """What goes on at a moment, newest first, as far as it is in the ledger. `more`: the limit left some out; `silent`:
    how many sessions are open and left out, because their process was not heard of for SILENT.
    """

    at: Micros
    sessions: tuple[LiveSession, ...]
    more: bool = False
    silent: int = 0

    @property
    def totals(self) -> Totals:
        return sum((line.session.totals for line in self.sessions), Totals())

    def to_dict(self) -> dict[str, object]:
        return {
            "time": rfc3339(self.at),
            "totals": {"sessions": len(self.sessions), **self.totals.to_dict()},
            "sessions": [line.to_dict() for line in self.sessions],
            "more": self.more,
            "silent_sessions": self.silent,
        }


async def live_sessions(reader: UsageReader, filters: Filters, now: Micros, limit: int) -> Live:
    """A session is live by an open part that matches; what it spent is what matches, too."""
    asked = Question(filters=filters)
    of: dict[str, list[Running]] = {}
    for part in sorted(await reader.running(asked, now - SILENT), key=lambda one: (one.started_at, one.part)):
        of.setdefault(part.session, []).append(part)
    newest = sorted(of, key=lambda session: (-of[session][0].started_at, session))[:limit]
    parts = {part.key: part for part in await reader.parts(newest, now)}
    groups = await reader.grouped(Question(BY_LINE, filters=filters, sessions=tuple(newest)))
    sessions = tuple(_live_session(session, of[session], parts, groups, now) for session in newest)
    return Live(now, sessions, more=len(of) > limit, silent=await reader.silent(asked, now - SILENT))


def _live_session(
    session: str, running: Sequence[Running], parts: Mapping[str, Part], groups: Sequence[Group], now: Micros
) -> LiveSession:
    def summary_of(keys: Sequence[str]) -> SessionSummary:
        some = {key: parts[key] for key in keys}
        lines = service_lines([group for group in groups if group.key["part"] in some], some)
        return summarize(list(some.values()), lines, now=now)

    whole = summary_of([key for key, part in parts.items() if part.session_id == session])
    return LiveSession(whole, tuple(LivePart(summary_of([one.part]), one.heard_at) for one in running))
