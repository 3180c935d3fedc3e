"""Days that are over, rolled up: the sums of a UTC day without their parts, so that a year is a few thousand rows.

A rolled day is what its sums say, or it is not there: triggers end it with the first change of one of them, whoever
makes it. So nothing has to remember it, reports may use it or not, and a late record only costs rolling it once more.
Sessions cannot be added up, as one may go on over midnight: each row holds the digests of its own, to be united.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.periods import DAY, HOUR, Period
from livekit_tokens.domain.times import Micros
from livekit_tokens.store.faults import is_locked
from livekit_tokens.store.schema import ADDED, LABELS, day_sums, parts, rolled_days, sums

_REST: Micros = HOUR
"""A day is rolled up so long after its end: until then most of what is late has come."""

_PAUSE_SECONDS = 0.02
"""Between two tries to have the sums alone: a drain's transaction is shorter."""

_SHORT_GAP: Micros = 31 * DAY
"""Days without usage between two that have some are done, too, so that weekends do not cut a year to pieces; not the
decades after a record of 1970."""

_TRIGGERS = frozenset({"sums_inserted", "sums_updated", "sums_deleted", "parts_moved", "parts_deleted"})
"""Those of revision 0005; other people may have some of their own on the same tables."""

DIGEST_BYTES = 8
"""Two of a million sessions have the same digest with a probability of 3 in 100 million."""


def session_digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "replace")).digest()[:DIGEST_BYTES]


async def roll_up(conn: AsyncConnection, now: Micros, seconds: float) -> bool:
    """Roll up days that are due, newest first, each in a transaction of its own; stop after about `seconds`.

    Finding what is due is not in these seconds: where it takes longer than them, nothing would ever be rolled up.
    True: more are due, or the sums are in use.
    """
    due = deque(await _due(conn, now))
    until = time.monotonic() + seconds
    while due:
        if time.monotonic() > until:
            return True
        async with conn.begin() as transaction:
            if not await _lock(conn):
                await transaction.rollback()
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            day = due.popleft()
            if not await rolled_in(conn, Period(day, day + DAY)):
                await _roll(conn, day)
    return False


async def rolled_in(conn: AsyncConnection, period: Period | None) -> list[Micros]:
    """Days that are rolled up and lie in the period as a whole, in order; none where the triggers are missing.

    Who makes `sums` anew, to partition it, makes it without them.
    """
    if not await _is_guarded(conn):
        return []
    chosen = sa.select(rolled_days.c.day).order_by(rolled_days.c.day)
    if period is not None:
        chosen = chosen.where(rolled_days.c.day >= period.since, rolled_days.c.day <= period.until - DAY)
    return list((await conn.execute(chosen)).scalars())


async def _due(conn: AsyncConnection, now: Micros) -> list[Micros]:
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
    await conn.execute(sa.delete(day_sums).where(day_sums.c.day.not_in(sa.select(rolled_days.c.day))))


async def _lock(conn: AsyncConnection) -> bool:
    """Nobody adds to the sums meanwhile, and nobody else rolls up. False: the sums are in use; the transaction is over.

    PostgreSQL's lock is not waited for, not for a moment: whatever waits there for a table has every later writer wait
    behind it, and a VACUUM may hold it for hours. Of all the tries of a fleet one falls between two drains.
    """
    if conn.dialect.name == "sqlite":
        await conn.exec_driver_sql("BEGIN IMMEDIATE")
        return True
    try:
        await conn.exec_driver_sql("LOCK TABLE sums IN SHARE ROW EXCLUSIVE MODE NOWAIT")
    except sa_exc.DBAPIError as fault:
        if not is_locked(fault):
            raise
        return False
    return True


async def _roll(conn: AsyncConnection, day: Micros) -> None:
    await conn.execute(sa.delete(day_sums).where(day_sums.c.day == day))
    if rows := await _rows_of(conn, day):
        await conn.execute(sa.insert(day_sums), rows)
    await conn.execute(sa.insert(rolled_days), {"day": day})


async def _rows_of(conn: AsyncConnection, day: Micros) -> list[dict[str, object]]:
    within = (sums.c.bucket >= day, sums.c.bucket < day + DAY)
    labels = [sums.c[name] for name in LABELS]
    source = sums.join(parts, parts.c.key == sums.c.part)
    added = sa.select(*labels, *(sa.func.sum(sums.c[name]).label(name) for name in ADDED))
    told = sa.select(*labels, parts.c.session_id).distinct()
    sessions: defaultdict[Sequence[object], list[bytes]] = defaultdict(list)
    for *key, session in await conn.execute(told.select_from(source).where(*within)):
        sessions[tuple(key)].append(session_digest(session))
    rows = await conn.execute(added.select_from(source).where(*within).group_by(*labels))
    return [
        {
            **row,
            **{name: int(row[name]) for name in ADDED},
            "day": day,
            "sessions": b"".join(sorted(sessions[tuple(row[name] for name in LABELS)])),
        }
        for row in rows.mappings()
    ]


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
