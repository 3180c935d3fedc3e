"""Old records on their way out: which they are, a batch of them, and today's turn of RETENTION_DAYS.

All of it inside the caller's transaction. What is removed is written down before the first record goes, so that
reports are right at any moment, also when it is interrupted.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.periods import DAY, HOUR
from livekit_tokens.domain.times import MINUTE, QUARTER, Micros, quarter_of
from livekit_tokens.store.schema import idempotency, late_figures, parts, prunings, records, stays, sums

BATCH = 2000
"""Rows a transaction: about 20 ms of SQLite's write lock."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is to be removed: the records before `until`, of one tenant or of all; with `sums`, these too."""

    until: Micros
    tenant: str | None = None
    sums: bool = False


def older_than(age: Micros, now: Micros) -> Micros:
    """Whole buckets go: one with some of its records left would be told by nobody."""
    return quarter_of(now - age)


# -- by RETENTION_DAYS, once a day ------------------------------------------------------------------------------------

_DAILY_LOCK = int.from_bytes(b"lkprune") % 2**63
_GIVEN_UP: Micros = 5 * MINUTE
"""A daily pruning that has not removed anything for so long has lost its process; another one goes on."""


CLOCKS_DIFFER: Micros = HOUR
"""What is further ahead of now has not been written by a clock that is right."""


@dataclass(frozen=True, slots=True)
class Daily:
    """The pruning of today, and the row that it is written down in."""

    id: str
    asked: Pruning


async def begin_daily(conn: AsyncConnection, age: Micros, now: Micros) -> Daily | None:
    """Today's pruning, if nobody else has done it or is doing it; in a transaction that holds the write lock (SQLite).

    Whoever is second on PostgreSQL waits for the first one's row. One that is of the future was begun by a clock that
    was ahead, and says nothing about today.
    """
    if conn.dialect.name == "postgresql":
        await conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_DAILY_LOCK)))
    soon = now + CLOCKS_DIFFER
    ours = sa.select(prunings).where(prunings.c.daily, prunings.c.begun_at <= soon)
    last = (await conn.execute(ours.order_by(prunings.c.begun_at.desc()).limit(1))).first()
    until = older_than(age, await _borne_out(conn, now))
    asked = Pruning(until)
    if last is None or (last.ended_at is not None and last.begun_at <= now - DAY):
        return Daily(await write_down(conn, asked, now, daily=True), asked)
    if last.ended_at is not None or now - _GIVEN_UP < last.active_at <= soon:
        return None
    again = {"active_at": now, "until": max(until, last.until)}
    await conn.execute(sa.update(prunings).where(prunings.c.id == last.id).values(again))
    return Daily(last.id, Pruning(max(until, last.until)))


async def time_of(conn: AsyncConnection, clock: Micros) -> Micros:
    """This machine's time, or the server's where that is earlier: what is removed too early is gone."""
    told = await server_time(conn)
    return clock if told is None else min(clock, told)


async def server_time(conn: AsyncConnection) -> Micros | None:
    """What PostgreSQL's clock says; a file has none of its own."""
    if conn.dialect.name != "postgresql":
        return None
    asked = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
    return int((await conn.exec_driver_sql(asked)).scalar_one())


async def _borne_out(conn: AsyncConnection, now: Micros) -> Micros:
    """The time as the ledger bears it out: a day after what is written of a day ago or earlier, at the latest.

    A clock that is ahead finds nothing of yesterday. Nor does one that is right where nobody has called for a week: a
    pruning is written down in any case, so the next one, a day later, is borne out.
    """
    yesterday = now - DAY
    written = (
        sa.select(sa.func.max(records.c.at)).where(records.c.at <= yesterday),
        sa.select(sa.func.max(prunings.c.begun_at)).where(prunings.c.begun_at <= yesterday),
    )
    heard = [int(found) for query in written if (found := (await conn.execute(query)).scalar_one()) is not None]
    return min(now, max(heard, default=yesterday) + DAY)


async def go_on_daily(conn: AsyncConnection, daily: Daily, now: Micros) -> bool:
    """Remove one batch; False: that was the last one."""
    gone, since = await remove_some(conn, records, daily.asked, 0)
    await count(conn, daily.id, records, gone, now)
    if since is None:
        await close(conn, daily.id, now)
    return since is not None


# -- pieces -----------------------------------------------------------------------------------------------------------

_TIME = {records: records.c.at, sums: sums.c.bucket, parts: parts.c.started_at}


async def remove_some(
    conn: AsyncConnection, table: sa.Table, asked: Pruning, since: Micros
) -> tuple[int, Micros | None]:
    """How many rows went, and from which time on to look for more; None: there are none."""
    at, key = _TIME[table], tuple(table.primary_key.columns)
    page = sa.select(*key).where(at >= since, *old(table, asked)).order_by(at).limit(BATCH)
    target = key[0].in_(page) if len(key) == 1 else sa.tuple_(*key).in_(page)
    returned = [at, *([parts.c.key] if table is parts else [])]
    rows = (await conn.execute(sa.delete(table).where(target).returning(*returned))).all()
    if table is parts and rows:
        for dependent in (stays, idempotency):
            await conn.execute(sa.delete(dependent).where(dependent.c.part.in_([row.key for row in rows])))
    if len(rows) == BATCH:
        return BATCH, max(row[0] for row in rows)
    if table is records and asked.tenant is None:  # they say whose they are no more than by their record
        await conn.execute(sa.delete(late_figures).where(late_figures.c.at < asked.until))
    return len(rows), None


def old(table: sa.Table, asked: Pruning, *, would: bool = False) -> list[sa.ColumnElement[bool]]:
    """Which rows go. Parts that are over, and of which neither sums nor records are left (`would` be left)."""
    conditions = [_TIME[table] < asked.until]
    if table is parts:
        for of_part in (sums, records):
            left = sa.select(of_part.c.part).where(of_part.c.part == parts.c.key)
            conditions.append(~(left.where(_TIME[of_part] >= asked.until) if would else left).exists())
        conditions.append(parts.c.status != "open")
        if asked.tenant is not None:
            conditions.append(parts.c.tenant == asked.tenant)
    elif asked.tenant is not None:
        conditions.append(table.c.part.in_(sa.select(parts.c.key).where(parts.c.tenant == asked.tenant)))
    return conditions


async def reached(conn: AsyncConnection, asked: Pruning) -> Micros | None:
    """Where the last bucket ends that anything is removed from; None: there is nothing. Reports of that time take
    nothing from records, whosever they are: so it reaches as far as it must.
    """
    latest: Micros | None = None
    for table in (records, sums) if asked.sums else (records,):
        found = (await conn.execute(sa.select(sa.func.max(_TIME[table])).where(*old(table, asked)))).scalar_one()
        latest = max(filter(None, (latest, found)), default=None)
    return None if latest is None else quarter_of(latest) + QUARTER


async def write_down(conn: AsyncConnection, asked: Pruning, now: Micros, *, daily: bool) -> str:
    row: dict[str, Any] = {
        "id": secrets.token_hex(16),
        "begun_at": now,
        "active_at": now,
        "until": asked.until,
        "tenant": asked.tenant,
        "daily": daily,
        "records": 0,
        "sums": 0 if asked.sums else None,
    }
    await conn.execute(sa.insert(prunings).values(row))
    return str(row["id"])


async def count(conn: AsyncConnection, pruning: str, table: sa.Table, gone: int, now: Micros) -> None:
    values: dict[str, Any] = {"active_at": now}
    if table is not parts:
        values[table.name] = prunings.c[table.name] + gone
    await conn.execute(sa.update(prunings).where(prunings.c.id == pruning).values(values))


async def close(conn: AsyncConnection, pruning: str, now: Micros) -> None:
    await conn.execute(sa.update(prunings).where(prunings.c.id == pruning).values(ended_at=now, active_at=now))
