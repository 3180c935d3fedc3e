"""Every question is a method of `Reports`; how it is answered stands in the file of its name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Unpack

from livekit_tokens.core.reports.analysis import CostAnalysis, cost_analysis
from livekit_tokens.core.reports.asking import (
    DEFAULT_BY,
    DEFAULT_LIMIT,
    About,
    FilterArguments,
    Filters,
    Scope,
    check_by,
    check_cutting,
    check_limit,
    check_timeless,
    scope_of,
)
from livekit_tokens.core.reports.cache_hits import CacheReport, cache_hits
from livekit_tokens.core.reports.comparison import Comparison, compare
from livekit_tokens.core.reports.economy import SessionCosts, ShareReport, session_costs
from livekit_tokens.core.reports.entries import Entry
from livekit_tokens.core.reports.live import Live, live_sessions
from livekit_tokens.core.reports.overview import Overview, overview
from livekit_tokens.core.reports.performance import PerformanceReport, performance
from livekit_tokens.core.reports.reader import UsageStore
from livekit_tokens.core.reports.series import DEFAULT_LINES, Series, series
from livekit_tokens.core.reports.sessions import SessionList, listed_sessions, one_session
from livekit_tokens.core.reports.spending import Report, spending
from livekit_tokens.core.reports.statement import Statement, Whose, statement
from livekit_tokens.core.reports.timeline import Timeline, timeline
from livekit_tokens.core.reports.top import DEFAULT_TOP, Ranked, Top, TopRequests, check_ranked, top_requests, tops
from livekit_tokens.core.reports.unpriced import Missing, missing
from livekit_tokens.domain.periods import period_before, read_zone
from livekit_tokens.domain.pricing import Pricing, unpriced
from livekit_tokens.domain.summary import SessionSummary
from livekit_tokens.domain.times import Micros, to_datetime


@dataclass(frozen=True, slots=True)
class Reports:
    """The ledger, read. Times are aware datetimes; a period is half-open and by default the last 7 x 24 hours.

    Days, weeks and months are those of `timezone`, by default the settings'. Filters are user, service, model,
    provider, operation, feature, agent, room, tenant and tags. Every question raises BadSetting for what cannot be
    asked and LedgerUnavailable where there is no ledger. `pricing` is what prices are now: the records
    have their own.
    """

    store: UsageStore
    now: Callable[[], Micros]
    timezone: str = "UTC"
    pricing: Pricing = unpriced

    async def kept_since(self) -> datetime | None:
        """From when on all records are kept; None where none was pruned.

        Before that, sums tell: a quarter of an hour belongs to the period that it begins in, and what only records
        tell (single requests, response times, errors, scores) is missing.
        """
        async with self.store.reader() as reader:
            since = await reader.kept_since()
        return to_datetime(since) if since else None

    async def report(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        by: Sequence[str] = DEFAULT_BY,
        **about: Unpack[About],
    ) -> Report:
        """What was spent, by at most two of GROUPINGS or `tag:KEY`. Raises BadSetting for what cannot be asked."""
        checked = check_by(by)
        scope = self._scope(since, until, about)
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
        **about: Unpack[About],
    ) -> SessionList:
        """The newest sessions of a period with what they spent in it."""
        check_limit(limit)
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await listed_sessions(reader, scope, limit)

    async def missing(
        self, since: datetime | None = None, until: datetime | None = None, **about: Unpack[About]
    ) -> Missing:
        """What has no price, why, and what is known of its price now."""
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await missing(reader, scope, self.pricing)

    async def live(self, *, limit: int = DEFAULT_LIMIT, **filters: Unpack[FilterArguments]) -> Live:
        """The sessions that go on now, with what they have spent until now; a call is in the ledger within seconds.

        Those whose process has brought nothing for a day are left out, and counted.
        """
        check_limit(limit)
        async with self.store.reader() as reader:
            return await live_sessions(reader, Filters(**filters), self.now(), limit)

    async def series(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        cutting: str = "day",
        per: str | None = None,
        lines: int = DEFAULT_LINES,
        **about: Unpack[About],
    ) -> Series:
        """Spending by hour, day, week or month, also where it was none; `per` splits it into the dearest `lines`."""
        check_limit(lines)
        cut_by, split = check_cutting(cutting), None if per is None else check_timeless([per], "a line")[0]
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await series(reader, scope, cut_by, split, lines)

    async def top(
        self,
        kind: Ranked,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        limit: int = DEFAULT_TOP,
        **about: Unpack[About],
    ) -> Top:
        """The dearest users, tenants, agents, sessions, models, operations or features; by cost, then by tokens."""
        check_ranked(kind)
        check_limit(limit)
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return (await tops(reader, scope, [kind], limit))[kind]

    async def top_requests(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        limit: int = DEFAULT_TOP,
        **about: Unpack[About],
    ) -> TopRequests:
        """The dearest single requests; by cost, then by tokens."""
        check_limit(limit)
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await top_requests(reader, scope, limit)

    async def compare(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        before: tuple[datetime, datetime] | None = None,
        by: Sequence[str] = DEFAULT_BY,
        limit: int = DEFAULT_LIMIT,
        **about: Unpack[About],
    ) -> Comparison:
        """A period beside the one `before` (since, until): by default as long, and ending where it begins."""
        checked = check_timeless(by, "a comparison")
        check_limit(limit)
        scope = self._scope(since, until, about)
        then = period_before(scope.period) if before is None else self._scope(*before, about).period
        async with self.store.reader() as reader:
            return await compare(reader, scope, then, checked, limit)

    async def timeline(self, session_id: str) -> Timeline:
        """One session as it went. Raises UnknownSession."""
        async with self.store.reader() as reader:
            return await timeline(reader, session_id, self.now())

    async def statement(
        self,
        whose: Whose,
        name: str,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        **about: Unpack[About],
    ) -> Statement:
        """What one user or tenant spent: by service and model, by day, and the newest sessions. Raises UnknownName."""
        check_limit(limit)
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await statement(reader, scope, whose, name, limit)

    async def knows(self, whose: Whose, name: str) -> bool:
        """Whether any session was ever this user's or tenant's."""
        async with self.store.reader() as reader:
            return await reader.knows(whose, name)

    async def performance(
        self, since: datetime | None = None, until: datetime | None = None, **about: Unpack[About]
    ) -> PerformanceReport:
        """Success, errors, response times and scores, by provider, model and operation."""
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await performance(reader, scope)

    async def session_costs(
        self, since: datetime | None = None, until: datetime | None = None, **about: Unpack[About]
    ) -> SessionCosts:
        """What the sessions of a period cost in it: average, p50, p95, most."""
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await session_costs(reader, scope)

    async def shares(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        by: Sequence[str] = ("provider", "model"),
        **about: Unpack[About],
    ) -> ShareReport:
        """What part was cached, estimated, unknown, unpriced or failed, in all and by group."""
        return ShareReport(await self.report(since, until, by=by, **about))

    async def cache_hits(
        self, since: datetime | None = None, until: datetime | None = None, **about: Unpack[About]
    ) -> CacheReport:
        """What the application's own caches answered (`record_cache_hit`), by operation and layer: counts only."""
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await cache_hits(reader, scope)

    async def cost_analysis(
        self, since: datetime | None = None, until: datetime | None = None, **about: Unpack[About]
    ) -> CostAnalysis:
        """What each operation costs, and what could be cheaper, with the figures behind it and the saving estimated."""
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await cost_analysis(reader, scope, self.pricing)

    async def overview(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        cutting: str = "day",
        **about: Unpack[About],
    ) -> Overview:
        """A period at a glance, all of it out of one snapshot: what a page or a dashboard shows."""
        cut_by = check_cutting(cutting)
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader:
            return await overview(reader, scope, cut_by, self.pricing)

    async def records(
        self, since: datetime | None = None, until: datetime | None = None, **about: Unpack[About]
    ) -> AsyncGenerator[Entry]:
        """Every usage record of a period, oldest first, in constant memory: `async for entry in ledger.records()`.

        Who stops before the end closes it, as `contextlib.aclosing` does: until then the snapshot is held.
        """
        scope = self._scope(since, until, about)
        async with self.store.reader() as reader, aclosing(reader.entries(scope.question())) as entries:
            async for entry in entries:
                yield entry

    def _scope(self, since: datetime | None, until: datetime | None, about: About) -> Scope:
        return scope_of(since, until, about, timezone=self.timezone, now=self.now())


def open_reports(
    store: UsageStore, *, now: Callable[[], Micros], timezone: str = "UTC", pricing: Pricing = unpriced
) -> Reports:
    """The reports over a ledger. Raises BadSetting for an unknown time zone."""
    read_zone(timezone)
    return Reports(store, now, timezone, pricing)
