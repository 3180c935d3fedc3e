"""Days that are over, rolled up: the sums of a UTC day without their parts, so that a year is a few thousand rows.

A rolled day is what its sums say, or it is not there: triggers end it with the first change of one of them, whoever
makes it. So nothing has to remember it, reports may use it or not, and a late record only costs rolling it once more.
Sessions cannot be added up, as one may go on over midnight: each row holds the digests of its own, to be united.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.periods import DAY, HOUR, Period
from livekit_tokens.domain.times import Micros
from livekit_tokens.store.schema import day_sums, rolled_days, sums

_REST: Micros = HOUR
"""A day is rolled up so long after its end: until then most of what is late has come."""

_SHORT_GAP: Micros = 31 * DAY
"""Days without usage between two that have some are done, too, so that weekends do not cut a year to pieces; not the
decades after a record of 1970."""

_TRIGGERS = frozenset({"sums_inserted", "sums_updated", "sums_deleted", "parts_moved", "parts_deleted"})
"""Those of revision 0005; other people may have some of their own on the same tables."""

DIGEST_BYTES = 8
"""Two of a million sessions have the same digest with a probability of 3 in 100 million."""


def session_digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "replace")).digest()[:DIGEST_BYTES]


async def rolled_in(conn: AsyncConnection, period: Period | None) -> list[Micros]:
    """Days that are rolled up and lie in the period as a whole, in order; none where the triggers are missing.

    Who makes `sums` anew, to partition it, makes it without them.
    """
    if not await _is_guarded(conn):
        return []
    chosen = _rolled().order_by(rolled_days.c.day)
    if period is not None:
        chosen = chosen.where(rolled_days.c.day >= period.since, rolled_days.c.day <= period.until - DAY)
    return list((await conn.execute(chosen)).scalars())


def _rolled() -> sa.Select[Micros]:
    """Not those that are being rolled up just now."""
    return sa.select(rolled_days.c.day).where(rolled_days.c.taken_by.is_(None))


async def due_days(conn: AsyncConnection, now: Micros) -> list[Micros]:
    """Days to be rolled up, newest first."""
    if not await _is_guarded(conn):
        return []
    over = now - _REST - DAY
    found = (await conn.execute(days_of(sums.c.bucket, sums.c.bucket >= 0, sums.c.bucket < over + DAY))).scalars()
    done = set(await rolled_in(conn, None))
    days = [day for day in with_short_gaps(sorted(found)) if day <= over and day not in done]
    await conn.rollback()
    return days[::-1]


def days_of(at: sa.ColumnElement[int], *conditions: sa.ColumnElement[bool]) -> sa.Select[Micros]:
    """UTC days that have rows: from one to the next by an index on `at`, so that those without any cost nothing."""

    def first_of(*more: sa.ColumnElement[bool]) -> sa.ScalarSelect[Micros]:
        # Of two lower bounds SQLite seeks by the first and reads through to the other: the day's own stands before.
        return sa.select(at).where(*more, *conditions).order_by(at).limit(1).scalar_subquery()

    def day(moment: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return moment - (moment % DAY + DAY) % DAY  # also before 1970, where SQL's remainders are negative

    found = sa.select(first_of().label("at")).cte("days", recursive=True)
    following = sa.select(first_of(at >= day(found.c.at) + DAY)).where(found.c.at.is_not(None))
    found = found.union_all(following)
    return sa.select(day(found.c.at)).where(found.c.at.is_not(None))


def with_short_gaps(days: Sequence[Micros]) -> Iterator[Micros]:
    """Days, in order, and those between them where few are missing."""
    for day, following in pairwise([*days, None]):
        assert day is not None
        yield day
        if following is not None and following - day <= _SHORT_GAP:
            yield from range(day + DAY, following, DAY)


async def drop_unrolled(conn: AsyncConnection) -> None:
    """What was rolled of days that are rolled up no more: it would stay until they are, with digests of sessions."""
    await conn.execute(sa.delete(day_sums).where(day_sums.c.day.not_in(_rolled())))


async def _is_guarded(conn: AsyncConnection) -> bool:
    if conn.dialect.name == "sqlite":
        asked = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('sums', 'parts')"
    else:
        asked = (
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' "
            "AND tgrelid IN ('sums'::regclass, 'parts'::regclass)"
        )
    return set((await conn.exec_driver_sql(asked)).scalars()) >= _TRIGGERS


def spans_of(days: Iterable[Micros]) -> list[Period]:
    """Days, in order, as the spans that they make together."""
    spans: list[Period] = []
    for day in days:
        if spans and spans[-1].until == day:
            spans[-1] = Period(spans[-1].since, day + DAY)
        else:
            spans.append(Period(day, day + DAY))
    return spans


def beside(period: Period, spans: Sequence[Period]) -> list[Period]:
    """What of a period is in none of the spans, which lie in it and are in order."""
    edges = [period.since, *(edge for span in spans for edge in (span.since, span.until)), period.until]
    return [Period(since, until) for since, until in zip(edges[::2], edges[1::2], strict=True) if since < until]
