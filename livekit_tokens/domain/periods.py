"""Periods of time, and how days, weeks and months are cut from them in a reader's time zone.

Everything here is pure: the present moment and the zone are arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.times import QUARTER, SECOND, Micros, rfc3339, to_datetime, to_micros

DAY: Micros = 24 * 60 * 60 * SECOND
HOUR: Micros = 60 * 60 * SECOND
DEFAULT_DAYS = 7
MOST_DAYS = 36_500
LAST: Micros = to_micros(datetime(2999, 12, 31, tzinfo=UTC))
MOST_CUTS = 50_000
"""More hours, days or weeks than this in one answer help nobody: nearly six years of hours."""

Calendar = Literal["today", "this-week", "this-month"]
Cutting = Literal["hour", "day", "week", "month"]
CUTTINGS: tuple[Cutting, ...] = ("hour", "day", "week", "month")
_CUTTING: dict[Calendar, Cutting] = {"today": "day", "this-week": "week", "this-month": "month"}

_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,9})?)? ?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII | re.IGNORECASE
)
_MOMENT_ACCEPTED = "2026-11-22, 2026-11-22 15:00 or 2026-11-22T15:00:00+01:00"


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open: `since` belongs to it, `until` does not."""

    since: Micros
    until: Micros

    @property
    def empty(self) -> bool:
        return self.until <= self.since


ALWAYS = Period(0, 2 * LAST)
"""All time."""


@dataclass(frozen=True, slots=True)
class Split:
    """A period as its whole 15-minute buckets and the two partial edges beside them; any of them may be empty."""

    head: Period
    whole: Period
    tail: Period


@dataclass(frozen=True, slots=True)
class Cut:
    """One hour, day, week or month of a time zone, and the span of time that it covers."""

    key: str
    span: Period


def split(period: Period) -> Split:
    """Where whole buckets begin and end inside a period."""
    first = -(-period.since // QUARTER) * QUARTER
    last = period.until // QUARTER * QUARTER
    if first >= last:
        nothing = Period(period.until, period.until)
        return Split(head=period, whole=nothing, tail=nothing)
    return Split(Period(period.since, first), Period(first, last), Period(last, period.until))


def as_kept(period: Period, pruned_until: Micros) -> Period:
    """The period as it can be told where records before `pruned_until` are gone, and only whole buckets are left.

    A bucket there belongs to the period that it begins in: so periods that meet still share nothing, and leave
    nothing out.
    """
    since, until = (at if at >= pruned_until else -(-at // QUARTER) * QUARTER for at in (period.since, period.until))
    return Period(since, until)


def read_zone(name: str) -> tzinfo:
    """A time zone by its IANA name; raises BadSetting with one line."""
    # UTC must work where no time zone database is installed (slim images, Windows).
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    # zoneinfo answers a folder's name ("Europe") or a path with whatever the file system says.
    except (ZoneInfoNotFoundError, ValueError, OSError) as fault:
        raise BadSetting(f"time zone {name!r} is not known; accepted: an IANA name such as Europe/Berlin") from fault


def read_moment(text: str, zone: tzinfo) -> Micros:
    """A point in time as a person types it; without an offset it is in `zone`, a bare date is its midnight."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        raise BadSetting(f"time {text!r} cannot be read; accepted: {_MOMENT_ACCEPTED}")
    day, clock, seconds, offset = found.groups(default="")
    try:
        if not clock:
            return _midnight(date.fromisoformat(day), zone)
        at = datetime.fromisoformat(f"{day}T{clock}{seconds}{offset.upper()}")
        return to_micros(at if at.tzinfo else at.replace(tzinfo=zone))
    # OverflowError: a day at the end of the calendar that another zone pushes over it.
    except (ValueError, OverflowError) as fault:
        raise BadSetting(f"time {text!r} does not exist; accepted: {_MOMENT_ACCEPTED}") from fault


def last_days(days: int, now: Micros) -> Period:
    """The last `days` x 24 hours up to now."""
    if not 1 <= days <= MOST_DAYS:
        raise BadSetting(f"days is {days}; accepted: a whole number from 1 to {MOST_DAYS}")
    return Period(now - days * DAY, now)


def between(since: Micros | None, until: Micros | None, now: Micros) -> Period:
    """From `since` to `until`; without an end up to now, without a beginning the 7 x 24 hours before the end."""
    end = now if until is None else until
    begin = end - DEFAULT_DAYS * DAY if since is None else since
    # The calendar's ends have no next day and no other zone: nobody needs them.
    for at in (begin, end):
        if not 0 <= at <= LAST:
            raise BadSetting(f"a time in the year {to_datetime(at).year} is out of range; accepted: 1970 to 2999")
    if begin >= end:
        raise BadSetting(f"since {rfc3339(begin)} is not before until {rfc3339(end)}; give an earlier since")
    return Period(begin, end)


def calendar_period(name: Calendar, now: Micros, zone: tzinfo) -> Period:
    """The whole day, week (from Monday) or month of `zone` that `now` lies in."""
    today = to_datetime(now).astimezone(zone).date()
    first = _first_day(_CUTTING[name], today)
    return Period(_midnight(first, zone), _midnight(_next_first(_CUTTING[name], first), zone))


def period_before(period: Period) -> Period:
    """The period of the same length that ends where this one begins."""
    return Period(2 * period.since - period.until, period.since)


def so_far_and_before(name: Calendar, now: Micros, zone: tzinfo) -> tuple[Period, Period]:
    """The day, week or month up to now, and the one before it up to the same time by the clock.

    A month that was too short for that (28 days beside the 31st) counts whole.
    """
    local = to_datetime(now).astimezone(zone).replace(tzinfo=None)
    cutting = _CUTTING[name]
    first = _first_day(cutting, local.date())
    before = _first_day(cutting, first - timedelta(days=1))
    clock = datetime.combine(before, time()) + (local - datetime.combine(first, time()))
    begin = _midnight(first, zone)
    return Period(begin, now), Period(_midnight(before, zone), min(to_micros(clock.replace(tzinfo=zone)), begin))


def cut(period: Period, cutting: Cutting, zone: tzinfo) -> tuple[Cut, ...]:
    """A period cut into the hours, days, weeks or months of a zone; the first and last are cut off by the period.

    Raises BadSetting when there were more than MOST_CUTS.
    """
    cuts: list[Cut] = []
    for piece in _hours(period, zone) if cutting == "hour" else _dates(period, cutting, zone):
        if len(cuts) == MOST_CUTS:
            raise BadSetting(f"by {cutting} gives more than {MOST_CUTS} groups; give a shorter period or a longer unit")
        cuts.append(piece)
    return tuple(cuts)


def _hours(period: Period, zone: tzinfo) -> Iterator[Cut]:
    at = period.since
    while at < period.until:
        local = to_datetime(at).astimezone(zone)
        begin = local.replace(minute=0, second=0, microsecond=0, tzinfo=None)
        end = at + HOUR - (local.replace(tzinfo=None) - begin) // timedelta(microseconds=1)
        end = min(_change(at, end, zone), period.until)
        # The offset is that of the moment itself: both hours of an autumn night have a key of their own.
        offset = timezone(local.utcoffset() or timedelta())
        yield Cut(begin.replace(tzinfo=offset).isoformat(timespec="minutes"), Period(at, end))
        at = end


def _dates(period: Period, cutting: Cutting, zone: tzinfo) -> Iterator[Cut]:
    first = _first_day(cutting, to_datetime(period.since).astimezone(zone).date())
    at = period.since
    while at < period.until:
        following = _next_first(cutting, first)
        end = min(_midnight(following, zone), period.until)
        # A zone that changed its side of the date line has a day without a moment in it.
        if end > at:
            yield Cut(_key(cutting, first), Period(at, end))
            at = end
        first = following


def _first_day(cutting: Cutting, day: date) -> date:
    if cutting == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if cutting == "month" else day


def _next_first(cutting: Cutting, first: date) -> date:
    if cutting == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if cutting == "week" else 1)


def _key(cutting: Cutting, first: date) -> str:
    if cutting == "week":
        year, week, _ = first.isocalendar()
        return f"{year:04d}-W{week:02d}"
    return first.isoformat()[:7] if cutting == "month" else first.isoformat()


def _midnight(day: date, zone: tzinfo) -> Micros:
    """When a date begins. Where clocks go forward at midnight, that is the moment they do."""
    # fold=0 reads a skipped time with the offset before the change, which is the moment of the change itself.
    return to_micros(datetime(day.year, day.month, day.day, tzinfo=zone))


def _change(since: Micros, until: Micros, zone: tzinfo) -> Micros:
    """The moment in (since, until] from which the zone has another offset than at `since`; `until` if it has none."""
    before = to_datetime(since).astimezone(zone).utcoffset()
    if to_datetime(until - 1).astimezone(zone).utcoffset() == before:
        return until
    low, high = since, until - 1
    while high - low > 1:
        middle = (low + high) // 2
        same = to_datetime(middle).astimezone(zone).utcoffset() == before
        low, high = (middle, high) if same else (low, middle)
    return high
