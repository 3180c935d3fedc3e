"""A day's sums added up piece by piece, while others write: no lock is held meanwhile, on nothing.

First the day is marked as being rolled up. Whatever changes one of its sums from then on ends the mark, as it ends a
day that is rolled up, by the same triggers (`store/rolling.py`). So what was read in between, in however many
transactions, is one state of the day if the mark is still there at the end; if not, all was for nothing, and the day is
due again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from array import array
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core import faults
from livekit_tokens.domain.periods import DAY, HOUR
from livekit_tokens.domain.times import SECOND, Micros
from livekit_tokens.store.rolling import due_days, session_digest
from livekit_tokens.store.schema import ADDED, LABELS, day_sums, parts, rolled_days, sums

PIECE = 2_000
"""Sums that are added up in one go: some 20 ms, of which a call in this process sees less, as a batch of the drain."""

_STALE: Micros = 60 * SECOND
"""A mark that was not renewed for so long is of a process that was killed. It is renewed with each piece; where that
takes longer, two processes roll up the same day, and one of them has done it for nothing."""

_LONGEST_WAIT_SECONDS = 5.0
"""How long transactions are waited for that were under way when a day was marked; a drain's is shorter. Another time
is as good."""

_OVERDUE: Micros = 6 * HOUR
"""Who still keeps a day that has been over for so long from being rolled up is no repricing or import."""

_PAUSE_SECONDS = 0.02

_KEPT_FROM_IT = (
    "days that are over could not be rolled up, and reports are slower: somebody's transaction goes on and on; "
    "find it by its xact_start in pg_stat_activity, and end it"
)

_Moment = Callable[[], Micros]


class _Busy(Exception):
    """Somebody's transaction goes on, and may have changed any day."""


class RollUp:
    """Rolls up days over one connection, which others may use between two calls of `go_on`."""

    def __init__(self) -> None:
        self._due: deque[Micros] = deque()
        self._day: AsyncGenerator[None, None] | None = None

    async def go_on(self, conn: AsyncConnection, clock: _Moment, seconds: float) -> bool:
        """Roll up days that are due, newest first, for about `seconds`: a piece more at most, or the end of a day.

        Finding what is due is not in these seconds: where it takes longer than them, nothing would ever be rolled up.
        True: there is more to do. What another process rolls up just now is left to it.
        """
        if self._day is None and not self._due:
            self._due = deque(await due_days(conn, clock()))
        until = time.monotonic() + seconds
        while self._day is not None or self._due:
            if time.monotonic() > until:
                return True
            if self._day is None:
                self._day = _steps(conn, self._due.popleft(), clock)
            try:
                await anext(self._day)
            except StopAsyncIteration:
                self._day = None
            except _Busy:
                self._day, self._due = None, deque()
        return False


async def _steps(conn: AsyncConnection, day: Micros, clock: _Moment) -> AsyncGenerator[None, None]:
    """Roll up a day, unless somebody else does or changes it. Raises _Busy if others' transactions do not end.

    No transaction is open at a step's end.
    """
    mark = _Mark(conn, day, clock)
    if not await mark.take():
        return
    fence = await _fence(conn)
    until = time.monotonic() + _LONGEST_WAIT_SECONDS
    while not await _is_passed(conn, fence):
        if time.monotonic() > until:
            if clock() - (day + DAY) > _OVERDUE:
                faults.note(_KEPT_FROM_IT)
            raise _Busy
        await asyncio.sleep(_PAUSE_SECONDS)
        yield
    added = _Added()
    for first, last in pieces(await _sums_by_bucket(conn, day), PIECE):
        if not await mark.renew():
            return
        await _add(conn, sums.c.bucket.between(first, last), added)
        await conn.rollback()
        yield
    async with conn.begin():
        if conn.dialect.name == "sqlite":
            await conn.exec_driver_sql("BEGIN IMMEDIATE")
        # First of all: who ends the mark, as an erasure does, goes on to the day's rows and never waits crosswise.
        if not await mark.end():
            return
        await conn.execute(sa.delete(day_sums).where(day_sums.c.day == day))
        if rows := added.rows(day):
            await conn.execute(sa.insert(day_sums), rows)


class _Mark:
    """That a day is being rolled up, and by whom: its row in `rolled_days`, which says once that is done that it is."""

    def __init__(self, conn: AsyncConnection, day: Micros, clock: _Moment) -> None:
        self._conn = conn
        self._day = day
        self._clock = clock
        self._by = secrets.randbits(63)

    async def take(self) -> bool:
        """False: the day is rolled up, or somebody is about it."""
        now = self._clock()
        # Also one of the future: its process's clock was ahead.
        stale = ~rolled_days.c.taken_at.between(now - _STALE, now + _STALE)
        if await self._committed(self._change(stale, taken_by=self._by, taken_at=now)):
            return True
        insert = (postgresql if self._conn.dialect.name == "postgresql" else sqlite).insert(rolled_days)
        values = (sa.literal(value, sa.BigInteger) for value in (self._day, self._by, now))
        # By a conflict alone it would be known only when who is just removing the row has ended.
        absent = sa.select(*values).where(~sa.exists().where(rolled_days.c.day == self._day))
        taken = insert.from_select(["day", "taken_by", "taken_at"], absent)
        return await self._committed(taken.on_conflict_do_nothing())

    async def renew(self) -> bool:
        """False: it has been ended."""
        return await self._committed(self._change(self._is_ours(), taken_at=self._clock()))

    async def end(self) -> bool:
        """The day is rolled up, once the caller's transaction is committed. False: the mark has been ended before."""
        return (await self._conn.execute(self._change(self._is_ours(), taken_by=None, taken_at=None))).rowcount == 1

    def _is_ours(self) -> sa.ColumnElement[bool]:
        return rolled_days.c.taken_by == self._by

    def _change(self, condition: sa.ColumnElement[bool], **values: int | None) -> sa.Update:
        """Of the day's row, if it is so. One that somebody holds counts as ended: they have changed the day, and may
        go on for long.
        """
        free = sa.select(rolled_days.c.day).where(rolled_days.c.day == self._day, condition)
        free = free.with_for_update(skip_locked=True)
        return sa.update(rolled_days).where(rolled_days.c.day == free.scalar_subquery()).values(**values)

    async def _committed(self, change: sa.Insert | sa.Update) -> bool:
        changed = (await self._conn.execute(change)).rowcount == 1
        await self._conn.commit()
        return changed


async def _fence(conn: AsyncConnection) -> int:
    """A transaction's number behind all that may have changed a sum, or a part, before a mark could be seen.

    Whoever is given a later one runs their triggers later, too. SQLite has one writer at a time.
    """
    if conn.dialect.name == "sqlite":
        return 0
    fence = int((await conn.exec_driver_sql("SELECT pg_current_xact_id()::text")).scalar_one())
    await conn.commit()
    return fence


async def _is_passed(conn: AsyncConnection, fence: int) -> bool:
    """Whether all transactions with smaller numbers have ended: as CREATE INDEX CONCURRENTLY waits, without a lock."""
    if conn.dialect.name == "sqlite":
        return True
    running = await conn.exec_driver_sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
    oldest = int(running.scalar_one())
    await conn.rollback()
    return oldest > fence


async def _sums_by_bucket(conn: AsyncConnection, day: Micros) -> list[tuple[Micros, int]]:
    counted = sa.select(sums.c.bucket, sa.func.count()).where(sums.c.bucket >= day, sums.c.bucket < day + DAY)
    found = await conn.execute(counted.group_by(sums.c.bucket).order_by(sums.c.bucket))
    counts = [(bucket, count) for bucket, count in found]
    await conn.rollback()
    return counts


def pieces(counts: Iterable[tuple[Micros, int]], most: int) -> Iterator[tuple[Micros, Micros]]:
    """First and last bucket of each piece: neighbours of so many sums together at most, or one that alone has more."""
    first = last = None
    together = 0
    for bucket, count in counts:
        if first is not None and last is not None and together + count > most:
            yield first, last
            first, together = None, 0
        first, last, together = bucket if first is None else first, bucket, together + count
    if first is not None and last is not None:
        yield first, last


@dataclass
class _Added:
    """What has been read of a day, by labels."""

    amounts: defaultdict[tuple[str, ...], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0] * len(ADDED))
    )
    sessions: defaultdict[tuple[str, ...], bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    """Digests, one after the other; a session's own once a piece."""

    def rows(self, day: Micros) -> list[dict[str, object]]:
        return [
            {
                "day": day,
                **dict(zip(LABELS, key, strict=True)),
                **dict(zip(ADDED, amounts, strict=True)),
                "sessions": array("Q", set(array("Q", bytes(self.sessions[key])))).tobytes(),
            }
            for key, amounts in self.amounts.items()
        ]


async def _add(conn: AsyncConnection, within: sa.ColumnElement[bool], added: _Added) -> None:
    labels = [sums.c[name] for name in LABELS]
    amounts = sa.select(*labels, *(sa.func.sum(sums.c[name]) for name in ADDED)).where(within).group_by(*labels)
    for row in await conn.execute(amounts):
        so_far = added.amounts[tuple(row[: len(LABELS)])]
        so_far[:] = (before + int(more) for before, more in zip(so_far, row[len(LABELS) :], strict=True))
    told = sa.select(*labels, parts.c.session_id).distinct().where(within)
    for *key, session in await conn.execute(told.select_from(sums.join(parts, parts.c.key == sums.c.part))):
        added.sessions[tuple(key)] += session_digest(session)
