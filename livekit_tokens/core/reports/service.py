"""Every question is a method of `Reports`; how it is answered stands in the file of its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Unpack

from livekit_tokens.core.reports.asking import (
    DEFAULT_BY,
    DEFAULT_LIMIT,
    FilterArguments,
    Scope,
    check_by,
    check_limit,
    scope_of,
)
from livekit_tokens.core.reports.live import Live, live_sessions
from livekit_tokens.core.reports.reader import UsageStore
from livekit_tokens.core.reports.sessions import SessionList, listed_sessions, one_session
from livekit_tokens.core.reports.spending import Report, spending
from livekit_tokens.domain.periods import read_zone
from livekit_tokens.domain.summary import SessionSummary
from livekit_tokens.domain.times import Micros


@dataclass(frozen=True, slots=True)
class Reports:
    """The ledger, read. Times are aware datetimes; a period is half-open and by default the last 7 x 24 hours.

    Days, weeks and months are those of `timezone`, by default the settings'. Filters are user, service, model,
    provider, operation, feature, agent, room, tenant and tags. Every question raises BadSetting for what cannot be
    asked and LedgerUnavailable where there is no ledger.
    """

    store: UsageStore
    now: Callable[[], Micros]
    timezone: str = "UTC"

    async def report(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        by: Sequence[str] = DEFAULT_BY,
        timezone: str | None = None,
        **filters: Unpack[FilterArguments],
    ) -> Report:
        """What was spent, by at most two of GROUPINGS or `tag:KEY`. Raises BadSetting for what cannot be asked."""
        checked = check_by(by)
        scope = self._scope(since, until, timezone, filters)
        async with self.store.reader() as reader:
            return await spending(reader, scope, checked)

    async def session(self, session_id: str, *, records: bool = False) -> SessionSummary:
        """One session with all its parts. Raises UnknownSession."""
        async with self.store.reader() as reader:
            return await one_session(reader, session_id, self.now(), records=records)

    async def sessions(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        timezone: str | None = None,
        **filters: Unpack[FilterArguments],
    ) -> SessionList:
        """The newest sessions of a period with what they spent in it."""
        check_limit(limit)
        scope = self._scope(since, until, timezone, filters)
        async with self.store.reader() as reader:
            return await listed_sessions(reader, scope, limit)

    async def live(self, *, limit: int = DEFAULT_LIMIT) -> Live:
        """The sessions that go on now, with what they have spent until now; a call is in the ledger within seconds."""
        check_limit(limit)
        async with self.store.reader() as reader:
            return await live_sessions(reader, self.now(), limit)

    def _scope(
        self, since: datetime | None, until: datetime | None, timezone: str | None, filters: FilterArguments
    ) -> Scope:
        return scope_of(since, until, timezone or self.timezone, filters, self.now())


def open_reports(store: UsageStore, *, now: Callable[[], Micros], timezone: str = "UTC") -> Reports:
    """The reports over a ledger. Raises BadSetting for an unknown time zone."""
    read_zone(timezone)
    return Reports(store, now, timezone)
