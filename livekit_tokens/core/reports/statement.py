"""What one user or one tenant spent: the page that goes with a bill."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from livekit_tokens.core.reports.asking import DEFAULT_BY, Scope
from livekit_tokens.core.reports.reader import UsageReader
from livekit_tokens.core.reports.series import Series, series
from livekit_tokens.core.reports.sessions import SessionList, listed_sessions
from livekit_tokens.core.reports.spending import Report, spending
from livekit_tokens.domain.errors import UnknownName

Whose = Literal["user", "tenant"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One user's or tenant's spending: by service and model, by day, and their newest sessions."""

    whose: Whose
    name: str
    report: Report
    days: Series
    sessions: SessionList

    def to_dict(self) -> dict[str, object]:
        listed = self.sessions.to_dict()
        return {
            self.whose: self.name,
            **self.report.to_dict(),
            "days": [point.to_dict() for point in self.days.points],
            "sessions": listed["sessions"],
            "more_sessions": self.sessions.more,
        }


async def statement(reader: UsageReader, scope: Scope, whose: Whose, name: str, limit: int) -> Statement:
    """Raises UnknownName for whom no session ever was."""
    if not await reader.knows(whose, name):
        raise UnknownName(f"no session of {whose} {name!r} in the ledger; `livekit-tokens top {whose}s` lists them")
    filters = replace(scope.filters, user=name) if whose == "user" else replace(scope.filters, tenant=name)
    theirs = replace(scope, filters=filters)
    report = await spending(reader, theirs, DEFAULT_BY)
    days = await series(reader, theirs, "day", per=None, most_lines=0)
    return Statement(whose, name, report, days, await listed_sessions(reader, theirs, limit))
