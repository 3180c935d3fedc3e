"""What can be asked of the ledger: filters, groupings, a period in the reader's zone. Checked here, before any SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import TypedDict

from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.periods import CUTTINGS, Cut, Cutting, Period, between, read_zone
from livekit_tokens.domain.times import Micros, rfc3339, to_micros

_NAMES = ("service", "kind", "model", "provider", "user", "tenant", "room", "agent", "feature", "operation")
GROUPINGS = (*_NAMES, *CUTTINGS)
"""What `by` accepts, beside `tag:KEY`."""

DEFAULT_BY = ("service", "model")
DEFAULT_LIMIT = 50

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


class About(FilterArguments, total=False):
    """What a question is about beside its period: filters, and the zone in which days are cut."""

    timezone: str | None


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

    Without a period it is about all time; `sessions` limits it to some; `cuts` are what one of `by` means in time;
    `cancelled` asks only for requests that were cut off, `in_calls` only for what was spent in a room or a job.
    """

    by: tuple[str, ...] = ()
    period: Period | None = None
    filters: Filters = field(default_factory=Filters)
    sessions: tuple[str, ...] | None = None
    cuts: tuple[Cut, ...] = ()
    cancelled: bool = False
    in_calls: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What every question over a period is about; `now` is the moment of asking."""

    period: Period
    timezone: str
    filters: Filters
    now: Micros

    @property
    def zone(self) -> tzinfo:
        return read_zone(self.timezone)

    def question(self, *by: str, period: Period | None = None, cuts: tuple[Cut, ...] = ()) -> Question:
        return Question(by, period or self.period, self.filters, cuts=cuts)

    def period_dict(self) -> dict[str, object]:
        return period_dict(self.period, self.timezone)


def scope_of(since: datetime | None, until: datetime | None, about: About, *, timezone: str, now: Micros) -> Scope:
    """In `timezone` unless `about` names another. Raises BadSetting for what cannot be asked about."""
    try:
        begin, end = (None if at is None else to_micros(at) for at in (since, until))
    except ValueError as fault:
        raise BadSetting(str(fault)) from fault
    zone = about.get("timezone") or timezone
    read_zone(zone)
    filters = {name: value for name, value in about.items() if name != "timezone"}
    return Scope(between(begin, end, now), zone, Filters(**filters), now)  # type: ignore[arg-type]


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


def check_timeless(by: Sequence[str], question: str) -> tuple[str, ...]:
    """Groupings of a question that has no use for hours and days."""
    for name in (checked := check_by(by)):
        if name in CUTTINGS:
            raise BadSetting(f"{question} cannot be by {name}; accepted: {', '.join(_NAMES)}, tag:KEY")
    return checked


def check_cutting(name: str) -> Cutting:
    for cutting in CUTTINGS:
        if cutting == name:
            return cutting
    raise BadSetting(f"cannot cut time by {name!r}; accepted: {', '.join(CUTTINGS)}")


def check_limit(limit: int) -> None:
    if limit < 1:
        raise BadSetting(f"limit is {limit}; accepted: a whole number from 1")


def period_dict(period: Period, timezone: str) -> dict[str, object]:
    return {"since": rfc3339(period.since), "until": rfc3339(period.until), "timezone": timezone}


def _check_tag(name: str) -> None:
    if not _TAG.fullmatch(name):
        raise BadSetting(f'{name!r} names no tag; accepted: tag:KEY, a key without the character "')
