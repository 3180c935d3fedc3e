"""The ledger's records and sums as `core.repricing` changes them: in one transaction, in the order of their keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.repricing import Asked, Bucket, Difference, Repricing, Stored, SumKey
from livekit_tokens.domain.periods import DAY, Period
from livekit_tokens.domain.times import QUARTER, Micros, quarter_of
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.schema import records, repricings, sums
from livekit_tokens.store.values import record_line_of

_PAGE = 2000
"""Records at a time: what is held in memory."""
_STEP: Micros = 7 * DAY
"""Buckets are counted so much time at a time: one question must not take longer than a server may."""
_LOCK = int.from_bytes(b"lkreprce") % 2**63
"""PostgreSQL's advisory lock of repricings: two at once would price from each other's halves."""

_RECORD_KEY = (records.c.part, records.c.seq, records.c.at)
_SUM_KEY = tuple(sums.primary_key.columns)

_PRICE = (
    sa.update(records)
    .where(*(column == sa.bindparam(f"k_{column.name}") for column in _RECORD_KEY))
    .values(input_cost=sa.bindparam("input"), output_cost=sa.bindparam("output"), price_note=sa.bindparam("note"))
)
_ADJUST = (
    sa.update(sums)
    .where(*(column == sa.bindparam(f"k_{column.name}") for column in _SUM_KEY))
    .values(
        input_cost=sums.c.input_cost + sa.bindparam("more_input"),
        output_cost=sums.c.output_cost + sa.bindparam("more_output"),
        unpriced_requests=sums.c.unpriced_requests + sa.bindparam("more_unpriced"),
    )
)
"""By difference: what a drain has added meanwhile stays."""


class Audit(NamedTuple):
    """Whose repricing it is: a random id, the time, a name."""

    id: str
    at: Micros
    made_by: str


@asynccontextmanager
async def priced_ledger(
    ledger: StoreLedger, asked: Asked, audit: Audit, *, dry_run: bool
) -> AsyncIterator[SqlPricedLedger]:
    """A snapshot for a dry run; else a transaction: all of it is written at the end, or, after a fault, nothing.

    SQLite gives nobody else the write lock meanwhile; on PostgreSQL only who drains into the same sums waits. Their
    spools keep it. Raises LedgerUnavailable where there is no ledger.
    """
    if not dry_run:
        await ledger.check_is_there()
    async with ledger.reader() if dry_run else ledger.writer() as conn:
        if not dry_run and conn.dialect.name == "postgresql":
            await conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        yield SqlPricedLedger(conn, asked, audit)


class SqlPricedLedger:
    """Fulfils `core.repricing.PricedLedger`."""

    def __init__(self, conn: AsyncConnection, asked: Asked, audit: Audit) -> None:
        self._conn = conn
        self._asked = asked
        self._audit = audit

    async def buckets(self) -> AsyncIterator[Bucket]:
        period = self._asked.period
        whole = Period(quarter_of(period.since), -(-period.until // QUARTER) * QUARTER)
        ends = [sa.select(end(sums.c.bucket)).where(*self._within(sums, sums.c.bucket, whole)) for end in _ENDS]
        first, last = (await self._conn.execute(sa.select(*(end.scalar_subquery() for end in ends)))).one()
        for since in range(first, last + QUARTER, _STEP) if first is not None else ():
            step = Period(since, min(since + _STEP, last + QUARTER))
            for row in await self._conn.execute(self._counted(step)):
                yield Bucket(int(row.bucket), int(row.summed), int(row.there))

    def _counted(self, step: Period) -> sa.Select[tuple[int, int, int]]:
        """One statement, so that a drain cannot come between the sums and their records."""
        at = records.c.at
        told = sa.select(sums.c.bucket, sums.c.requests.label("summed"), sa.literal(0).label("there"))
        kept = sa.select((at - at % QUARTER).label("bucket"), sa.literal(0), sa.literal(1))
        both = sa.union_all(
            told.where(*self._within(sums, sums.c.bucket, step)), kept.where(*self._within(records, at, step))
        ).subquery()
        summed, there = sa.func.sum(both.c.summed).label("summed"), sa.func.sum(both.c.there).label("there")
        return sa.select(both.c.bucket, summed, there).group_by(both.c.bucket).order_by(both.c.bucket)

    async def pages(self) -> AsyncIterator[Sequence[Stored]]:
        """By the primary key, whose parts begin with their time: what lies outside of the period is passed over."""
        asked = sa.select(records).where(*self._within(records, records.c.at, self._asked.period))
        last = await self._end_of_parts(sums.c.part.desc())
        begun = await self._end_of_parts(sums.c.part)
        if begun is None:
            return
        after: sa.ColumnElement[bool] = records.c.part >= begun
        while True:
            page = asked.where(after, records.c.part <= last).order_by(*_RECORD_KEY).limit(_PAGE)
            rows = (await self._conn.execute(page)).mappings().all()
            if rows:
                yield [Stored(row["seq"], (line := record_line_of(row)).record, line.price) for row in rows]
            if len(rows) < _PAGE:
                return
            end = (sa.literal(rows[-1][column.name], column.type) for column in _RECORD_KEY)
            after = sa.tuple_(*_RECORD_KEY) > sa.tuple_(*end)

    async def price(self, priced: Sequence[Stored]) -> None:
        rows = [
            {
                "k_part": bytes.fromhex(stored.record.part),
                "k_seq": stored.seq,
                "k_at": stored.record.at,
                "input": stored.price.input,
                "output": stored.price.output,
                "note": stored.price.note,
            }
            for stored in priced
        ]
        if rows:
            await self._conn.execute(_PRICE, rows)

    async def adjust(self, differences: Mapping[SumKey, Difference]) -> None:
        rows = [
            {
                **{f"k_{name}": value for name, value in key._asdict().items()},
                "k_part": bytes.fromhex(key.part),
                "more_input": more.input_cost,
                "more_output": more.output_cost,
                "more_unpriced": more.unpriced,
            }
            for key, more in differences.items()
        ]
        if rows:
            await self._conn.execute(_ADJUST, rows)

    async def write_down(self, repricing: Repricing) -> None:
        asked, whole = repricing.asked, repricing.total
        row = {
            **self._audit._asdict(),
            "since": asked.period.since,
            "until": asked.period.until,
            "provider": asked.provider,
            "model": asked.model,
            "reason": asked.reason,
            "records": whole.records,
            "changed": whole.changed,
            "cost_before": whole.cost_before,
            "cost_after": whole.cost_after,
            "unpriced_before": whole.unpriced_before,
            "unpriced_after": whole.unpriced_after,
        }
        await self._conn.execute(sa.insert(repricings), row)

    async def _end_of_parts(self, order: sa.ColumnElement[bytes]) -> bytes | None:
        period = self._asked.period
        touched = Period(quarter_of(period.since), period.until)
        found = sa.select(sums.c.part).where(*self._within(sums, sums.c.bucket, touched)).order_by(order).limit(1)
        return (await self._conn.execute(found)).scalar()

    def _within(self, table: sa.Table, at: sa.ColumnElement[int], period: Period) -> list[sa.ColumnElement[bool]]:
        asked = {"provider": self._asked.provider, "model": self._asked.model}
        names = [table.c[name] == value for name, value in asked.items() if value is not None]
        return [at >= period.since, at < period.until, *names]


_ENDS = (sa.func.min, sa.func.max)
