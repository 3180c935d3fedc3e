"""Reports: the only code that adds up usage. Every roof (CLI, REST, dashboard, metrics) asks here and sums nothing.

What the store must answer is the protocol UsageReader; one reader is one consistent snapshot of the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol, TypedDict, Unpack

from livekit_tokens.domain.errors import BadSetting, UnknownSession
from livekit_tokens.domain.periods import CUTTINGS, Cut, Period, between, cut, read_zone
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.summary import RecordLine, ServiceLine, SessionSummary, service_order, summarize
from livekit_tokens.domain.times import Micros, rfc3339, to_datetime, to_micros
from livekit_tokens.domain.totals import Totals

GROUPINGS = ("service", "model", "provider", "user", "tenant", "room", "agent", "feature", "operation", *CUTTINGS)
"""What `by` accepts, beside `tag:KEY`."""

DEFAULT_BY = ("service", "model")
DEFAULT_LIMIT = 50

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

# A quotation mark cannot be written in a SQLite JSON path.
_TAG = re.compile(r'tag:[^"\0]+')


class FilterArguments(TypedDict, total=False):
    user: str | None
    service: str | None
    model: str | None
    provider: str | None
    operation: str | None
    feature: str | None
    agent: str | None
    room: str | None
    tenant: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Filters:
    """What a record and its part must be; None does not ask. All of `tags` must match."""

    user: str | None = None
    service: str | None = None
    model: str | None = None
    provider: str | None = None
    operation: str | None = None
    feature: str | None = None
    agent: str | None = None
    room: str | None = None
    tenant: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.tags:
            _check_tag(f"tag:{key}")


@dataclass(frozen=True, slots=True)
class Question:
    """What the store is asked to add up. `by` may also name `session` and `part`, which no reader asks for by hand.

    Without a period it is about all time; `sessions` limits it to some; `cuts` are what one of `by` means in time.
    """

    by: tuple[str, ...] = ()
    period: Period | None = None
    filters: Filters = field(default_factory=Filters)
    sessions: tuple[str, ...] | None = None
    cuts: tuple[Cut, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """One group of a report; `key` has the names of `by`. None is a user, room, tag ... that was not known."""

    key: Mapping[str, str | None]
    sessions: int
    totals: Totals

    @property
    def avg_tokens_per_session(self) -> Decimal:
        average = Decimal(self.totals.total_tokens) / max(self.sessions, 1)
        return average.quantize(Decimal("0.01"), ROUND_HALF_UP)

    def to_dict(self) -> dict[str, object]:
        return {
            "key": dict(self.key),
            "avg_tokens_per_session": str(self.avg_tokens_per_session),
            "sessions": self.sessions,
            **self.totals.to_dict(),
        }


class UsageReader(Protocol):
    """One snapshot of the ledger. Every method may raise LedgerUnavailable."""

    async def extent(self, period: Period) -> Period | None:
        """The part of a period that can hold usage at all; None if there is none."""
        ...

    async def grouped(self, question: Question) -> Sequence[Group]: ...

    async def session_count(self, question: Question) -> int: ...

    async def newest_sessions(self, question: Question, limit: int) -> Sequence[str]:
        """Sessions with a matching record or, where only sessions are filtered, a start in the period."""
        ...

    async def open_sessions(self, limit: int) -> Sequence[str]:
        """Sessions with an open part, newest first."""
        ...

    async def parts(self, sessions: Sequence[str]) -> Sequence[Part]: ...

    async def stays(self, session: str) -> Sequence[Stay]: ...

    async def records(self, session: str) -> Sequence[RecordLine]: ...


class UsageStore(Protocol):
    def reader(self) -> AbstractAsyncContextManager[UsageReader]: ...


@dataclass(frozen=True, slots=True)
class Report:
    """What was spent in a period, in total and by group. `sessions` are those with at least one matching record."""

    period: Period
    timezone: str
    by: tuple[str, ...]
    sessions: int
    totals: Totals
    groups: tuple[Group, ...]

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "totals": {"sessions": self.sessions, **self.totals.to_dict()},
            "groups": [group.to_dict() for group in self.groups],
        }


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

    def to_dict(self) -> dict[str, object]:
        return {
            "period": period_dict(self.period, self.timezone),
            "sessions": [line.to_dict() for line in self.sessions],
            "more": self.more,
        }


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


@dataclass(frozen=True, slots=True)
class Reports:
    """The ledger, read. Times are aware datetimes; a period is half-open and by default the last 7 x 24 hours."""

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
        zone = timezone or self.timezone
        period = self._period(since, until)
        asked = Question(checked, period, Filters(**filters))
        async with self.store.reader() as reader:
            cuts = await _cuts(reader, asked, zone)
            if cuts == ():
                return Report(period, zone, checked, 0, Totals(), ())
            asked = Question(checked, period, asked.filters, cuts=cuts or ())
            groups = _in_order(await reader.grouped(asked), asked.cuts)
            # A session may stand in several groups: their counts of sessions do not add up.
            sessions = groups[0].sessions if len(groups) == 1 else await reader.session_count(asked) if groups else 0
        totals = sum((group.totals for group in groups), Totals())
        return Report(period, zone, checked, sessions, totals, tuple(groups))

    async def session(self, session_id: str, *, records: bool = False) -> SessionSummary:
        """One session with all its parts. Raises UnknownSession."""
        async with self.store.reader() as reader:
            parts = {part.key: part for part in await reader.parts([session_id])}
            if not parts:
                raise UnknownSession(f"no session {session_id!r} in the ledger; `livekit-tokens sessions` lists them")
            by = ("service", "provider", "model", "part")
            groups = await reader.grouped(Question(by, sessions=(session_id,)))
            stays = await reader.stays(session_id)
            told = await reader.records(session_id) if records else None
        return summarize(list(parts.values()), _service_lines(groups, parts), stays, now=self.now(), records=told)

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
        _check_limit(limit)
        zone = timezone or self.timezone
        read_zone(zone)
        period = self._period(since, until)
        asked = Question(("session",), period, Filters(**filters))
        async with self.store.reader() as reader:
            found = await reader.newest_sessions(asked, limit + 1)
            ids = tuple(found[:limit])
            parts = await reader.parts(ids)
            groups = await reader.grouped(Question(("session",), period, asked.filters, sessions=ids))
        totals = {group.key["session"]: group.totals for group in groups}
        of: dict[str, list[Part]] = {}
        for part in parts:
            of.setdefault(part.session_id, []).append(part)
        now = self.now()
        lines = tuple(SessionLine(summarize(of[i], (), now=now), totals.get(i, Totals())) for i in ids)
        return SessionList(period, zone, lines, more=len(found) > limit)

    async def live(self, *, limit: int = DEFAULT_LIMIT) -> Live:
        """The sessions that go on now, with what they have spent until now; a call is in the ledger within seconds."""
        _check_limit(limit)
        async with self.store.reader() as reader:
            found = await reader.open_sessions(limit + 1)
            ids = tuple(found[:limit])
            parts = await reader.parts(ids)
            groups = await reader.grouped(Question(("service", "provider", "model", "part"), sessions=ids))
        now = self.now()
        sessions = (_live_session([part for part in parts if part.session_id == i], groups, now) for i in ids)
        return Live(now, tuple(sessions), more=len(found) > limit)

    def _period(self, since: datetime | None, until: datetime | None) -> Period:
        try:
            begin, end = (None if at is None else to_micros(at) for at in (since, until))
        except ValueError as fault:
            raise BadSetting(str(fault)) from fault
        return between(begin, end, self.now())


def open_reports(store: UsageStore, *, now: Callable[[], Micros], timezone: str = "UTC") -> Reports:
    """The reports over a ledger. Raises BadSetting for an unknown time zone."""
    read_zone(timezone)
    return Reports(store, now, timezone)


def check_by(by: Sequence[str]) -> tuple[str, ...]:
    """At most two different groupings, at most one of them in time; raises BadSetting with one line."""
    by = (by,) if isinstance(by, str) else tuple(by)
    for name in by:
        if name.startswith("tag:"):
            _check_tag(name)
        elif name not in GROUPINGS:
            raise BadSetting(f"cannot group by {name!r}; accepted: {', '.join(GROUPINGS)}, tag:KEY")
    if not 1 <= len(by) <= 2 or len(set(by)) < len(by):
        raise BadSetting(f"cannot group by {', '.join(by) or 'nothing'}; accepted: one or two different names")
    if len(set(by).intersection(CUTTINGS)) > 1:
        raise BadSetting(f"cannot group by {' and '.join(by)}; accepted: one of {', '.join(CUTTINGS)}")
    return by


def period_dict(period: Period, timezone: str) -> dict[str, object]:
    return {"since": rfc3339(period.since), "until": rfc3339(period.until), "timezone": timezone}


async def _cuts(reader: UsageReader, asked: Question, timezone: str) -> tuple[Cut, ...] | None:
    """What a grouping in time means; None where there is none, empty where the period holds nothing."""
    cutting = next((name for name in asked.by if name in CUTTINGS), None)
    zone = read_zone(timezone)
    if cutting is None or asked.period is None:
        return None
    extent = await reader.extent(asked.period)
    return () if extent is None else cut(extent, cutting, zone)


def _live_session(parts: Sequence[Part], groups: Sequence[Group], now: Micros) -> LiveSession:
    def summary_of(some: Sequence[Part]) -> SessionSummary:
        of = {part.key: part for part in some}
        lines = _service_lines([group for group in groups if group.key["part"] in of], of)
        return summarize(some, lines, now=now)

    running = sorted((part for part in parts if part.status == "open"), key=lambda part: (part.started_at, part.key))
    return LiveSession(summary_of(parts), tuple(summary_of([part]) for part in running))


def _service_lines(groups: Sequence[Group], parts: Mapping[str, Part]) -> list[ServiceLine]:
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


def _in_order(groups: Sequence[Group], cuts: Sequence[Cut]) -> list[Group]:
    """Groups by key: services in the known order, hours and days as they came, the rest by name, unknown last."""
    # By text, the second 02:00 of an autumn night (+01:00) would come before the first (+02:00).
    place = {cut.key: number for number, cut in enumerate(cuts)}

    def standing(name: str, value: str | None) -> tuple[object, ...]:
        if name in CUTTINGS:
            return (place[value or ""],)
        return service_order(value) if name == "service" else (value is None, value or "")

    return sorted(groups, key=lambda group: tuple(standing(*pair) for pair in group.key.items()))


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise BadSetting(f"limit is {limit}; accepted: a whole number from 1")


def _check_tag(name: str) -> None:
    if not _TAG.fullmatch(name):
        raise BadSetting(f'{name!r} names no tag; accepted: tag:KEY, a key without the character "')
