"""One session with all that it spent, and the sessions of a period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from livekit_tokens.core.reports.asking import Question, Scope, period_dict
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.domain.errors import UnknownSession
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.summary import ServiceLine, SessionSummary, summarize
from livekit_tokens.domain.times import Micros, to_datetime
from livekit_tokens.domain.totals import Totals

BY_LINE = ("service", "provider", "model", "part")
"""What the lines of a session are made of."""

_LISTED = (
    "session_id",
    "status",
    "room",
    "user",
    "user_name",
    "tenant",
    "agent_name",
    "tags",
    "started_at",
    "ended_at",
    "duration_seconds",
    "close_reason",
)
"""What a list of sessions tells of each, as the session's own JSON does."""


@dataclass(frozen=True, slots=True)
class SessionLine:
    """One session in a list: its own start, end and status, and what matched of it in the period."""

    session: SessionSummary
    totals: Totals

    def to_dict(self) -> dict[str, object]:
        whole = self.session.to_dict()
        return {**{name: whole[name] for name in _LISTED}, "totals": self.totals.to_dict()}


@dataclass(frozen=True, slots=True)
class SessionList:
    """Sessions of a period, newest first. `more` says that the limit left some out."""

    period: Period
    timezone: str
    sessions: tuple[SessionLine, ...]
    more: bool = False

    @property
    def totals(self) -> Totals:
        """Of those that are listed."""
        return sum((line.totals for line in self.sessions), Totals())

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "sessions": [line.to_dict() for line in self.sessions],
            "more": self.more,
        }


async def one_session(reader: UsageReader, session_id: str, now: Micros, *, records: bool) -> SessionSummary:
    """Raises UnknownSession."""
    parts = {part.key: part for part in await reader.parts([session_id], now)}
    if not parts:
        raise UnknownSession(f"no session {session_id!r} in the ledger; `livekit-tokens sessions` lists them")
    groups = await reader.grouped(Question(BY_LINE, sessions=(session_id,)))
    stays = await reader.stays(session_id)
    told = await reader.records(session_id) if records else None
    return summarize(list(parts.values()), service_lines(groups, parts), stays, now=now, records=told)


async def listed_sessions(reader: UsageReader, scope: Scope, limit: int) -> SessionList:
    found = await reader.newest_sessions(scope.question("session"), limit + 1)
    lines = await session_lines(reader, scope, found[:limit])
    return SessionList(scope.period, scope.timezone, lines, more=len(found) > limit)


async def session_lines(reader: UsageReader, scope: Scope, ids: Sequence[str]) -> tuple[SessionLine, ...]:
    """What matched of some sessions, in their order."""
    asked = Question(("session",), scope.period, scope.filters, sessions=tuple(ids))
    totals = {group.key["session"]: group.totals for group in await reader.grouped(asked)}
    of: dict[str, list[Part]] = {}
    for part in await reader.parts(ids, scope.now):
        of.setdefault(part.session_id, []).append(part)
    return tuple(SessionLine(summarize(of[i], (), now=scope.now), totals.get(i, Totals())) for i in ids)


def service_lines(groups: Sequence[Group], parts: Mapping[str, Part]) -> list[ServiceLine]:
    """Lines by service, provider and model out of groups that tell the parts apart."""
    lines: dict[tuple[str, str, str], tuple[list[Part], Totals]] = {}
    for group in groups:
        key = (group.key["service"] or "", group.key["provider"] or "", group.key["model"] or "")
        used, totals = lines.get(key, ([], Totals()))
        lines[key] = ([*used, parts[group.key["part"] or ""]], totals + group.totals)
    return [_service_line(*key, used, totals) for key, (used, totals) in lines.items()]


def _service_line(service: str, provider: str, model: str, used: list[Part], totals: Totals) -> ServiceLine:
    ends = [part.ended_at for part in used if part.status != "open" and part.ended_at is not None]
    return ServiceLine(
        service=service,
        provider=provider,
        model=model,
        session_start=to_datetime(min(part.started_at for part in used)),
        session_end=to_datetime(max(ends)) if len(ends) == len(used) else None,
        totals=totals,
    )
