"""What the ledger answers to `core.reports`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.reports import Calls, Entry, Group, Key, Measured, Question, Running, Scores, Unpriced
from livekit_tokens.domain.distribution import Distribution
from livekit_tokens.domain.periods import Period, as_kept
from livekit_tokens.domain.sessions import Part, Stay, as_heard_of
from livekit_tokens.domain.summary import RecordLine
from livekit_tokens.domain.times import QUARTER, Micros, quarter_of
from livekit_tokens.store import requests
from livekit_tokens.store.conditions import OF_PART, OF_RECORD, heard_at, part_conditions, record_conditions
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.grouping import dearest_groups, grouped, matching_parts, session_costs
from livekit_tokens.store.keeping.pruned import pruned_until
from livekit_tokens.store.lengths import calls
from livekit_tokens.store.rolled import Told, coarser, is_tellable, is_told_by, spans_for, told_from
from livekit_tokens.store.rolling import rolled_in
from livekit_tokens.store.schema import IS_OPEN, parts, records, stays, sums
from livekit_tokens.store.values import entry_of, group_of, part_of, record_line_of, stay_of, unpriced_of

_AT_ONCE = 1000
"""Records in memory at once while all of them are gone through."""


class StoredUsage:
    """The ledger as `core.reports.UsageStore`."""

    def __init__(self, ledger: StoreLedger) -> None:
        self._ledger = ledger

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[SqlReader]:
        async with self._ledger.reader() as conn:
            yield SqlReader(conn)


class SqlReader:
    """One snapshot. Fulfils `core.reports.UsageReader`."""

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self._answered: list[tuple[Question, list[Group]]] = []
        self._told: list[tuple[Question, list[Told]]] = []
        self._costs: list[tuple[Question, Distribution]] = []
        self._pruned_until: Micros | None = None
        self._rolled: list[Micros] | None = None

    async def extent(self, period: Period) -> Period | None:
        # Two subqueries: SQLite finds a single min or max at one end of the index, both at once only by a scan.
        found = sa.and_(sums.c.bucket >= quarter_of(period.since), sums.c.bucket < period.until)
        ends = [sa.select(end(sums.c.bucket)).where(found).scalar_subquery() for end in (sa.func.min, sa.func.max)]
        first, last = (await self._conn.execute(sa.select(*ends))).one()
        if first is None:
            return None
        return Period(max(period.since, first), min(period.until, last + QUARTER))

    async def grouped(self, question: Question) -> list[Group]:
        # In one snapshot the same question has the same answer, and a page asks some of them several times.
        for asked, answer in self._answered:
            if asked == question:
                return answer
        for asked, told in self._told:
            if is_told_by(question, asked):
                return coarser(question, told)
        answer = await self._grouped(question)
        self._answered.append((question, answer))
        return answer

    async def _grouped(self, question: Question) -> list[Group]:
        kept = await self._as_kept(question)
        if spans := await self._spans(kept):
            told = await told_from(self._conn, kept, spans)
            self._told.append((question, told))
            return [group for group, _ in told]
        rows = await self._conn.execute(grouped(kept))
        # Without a key there is always one row, of NULLs where nothing matched.
        found = (row._mapping for row in rows if row.sessions)  # noqa: SLF001 - SQLAlchemy's public name for it
        return [group_of(question, row) for row in found]

    async def dearest(self, question: Question, limit: int) -> dict[str, list[Group]]:
        found, others = {}, []
        for name in question.by:
            alone = replace(question, by=(name,))
            if await self._spans(await self._as_kept(alone)):  # few groups, and quick to have all of them
                found[name] = sorted(await self.grouped(alone), key=_dearest_first)[:limit]
            else:
                others.append(name)
        if others:
            together = await self._as_kept(replace(question, by=tuple(others)))
            for row in (await self._conn.execute(dearest_groups(together, limit))).mappings():
                name = others[row["of"]]
                found.setdefault(name, []).append(group_of(replace(question, by=(name,)), row))
        return {name: sorted(found.get(name, []), key=_dearest_first) for name in question.by}

    async def session_costs(self, question: Question) -> Distribution:
        for asked, answer in self._costs:  # as for `grouped`
            if asked == question:
                return answer
        rows = await self._conn.execute(session_costs(await self._as_kept(question)))
        costs = Distribution({int(row.cost): row.sessions for row in rows})
        self._costs.append((question, costs))
        return costs

    async def calls(self, question: Question, now: Micros) -> Calls:
        found = (await self._conn.execute(calls(await self._as_kept(question), now))).one()
        return Calls(*map(int, found))

    async def newest_sessions(self, question: Question, limit: int) -> list[str]:
        question = await self._as_kept(question)
        found = sa.select(parts.c.session_id).where(parts.c.key.in_(matching_parts(question)))
        period, filters = question.period, question.filters
        either: sa.SelectBase = found
        if period is not None and all(getattr(filters, name) is None for name in OF_RECORD):
            # A call that has begun and not spent anything yet is a session too.
            begun = (parts.c.started_at >= period.since, parts.c.started_at < period.until)
            either = sa.union(found, sa.select(parts.c.session_id).where(*begun, *part_conditions(question)))
        start = sa.func.min(parts.c.started_at)
        listed = (
            sa.select(parts.c.session_id)
            .where(parts.c.session_id.in_(either))
            .group_by(parts.c.session_id)
            .order_by(start.desc(), parts.c.session_id)
            .limit(limit)
        )
        return list((await self._conn.execute(listed)).scalars())

    async def running(self, question: Question, since: Micros) -> list[Running]:
        told = sa.select(parts.c.session_id, parts.c.key, parts.c.started_at, heard_at.label("heard_at"))
        rows = await self._conn.execute(told.where(*_is_running(question), heard_at >= since))
        return [Running(row.session_id, row.key.hex(), row.started_at, row.heard_at) for row in rows]

    async def silent(self, question: Question, since: Micros) -> int:
        count = sa.select(sa.func.count(parts.c.session_id.distinct()))
        return int((await self._conn.execute(count.where(*_is_running(question), heard_at < since))).scalar_one())

    async def parts(self, sessions: Sequence[str], now: Micros) -> list[Part]:
        told = sa.select(parts, heard_at.label("heard_at")).where(parts.c.session_id.in_(sessions))
        return [as_heard_of(part_of(row), row.heard_at, now) for row in await self._conn.execute(told)]

    async def stays(self, session: str) -> list[Stay]:
        joined = stays.join(parts, parts.c.key == stays.c.part)
        rows = await self._conn.execute(
            sa.select(stays).select_from(joined).where(parts.c.session_id == session).order_by(stays.c.joined_at)
        )
        return [stay_of(row) for row in rows]

    async def records(self, session: str) -> list[RecordLine]:
        joined = records.join(parts, parts.c.key == records.c.part)
        rows = await self._conn.execute(
            sa.select(records)
            .select_from(joined)
            .where(parts.c.session_id == session)
            .order_by(records.c.at, records.c.part, records.c.seq)
        )
        return [record_line_of(row._mapping) for row in rows]  # noqa: SLF001

    async def knows(self, kind: Literal["user", "tenant"], name: str) -> bool:
        found = sa.select(parts.c.key).where(OF_PART[kind] == name).limit(1)
        return (await self._conn.execute(found)).first() is not None

    async def entries(self, question: Question) -> AsyncGenerator[Entry]:
        in_order = requests.in_order(question).execution_options(yield_per=_AT_ONCE)
        async with self._conn.stream(in_order) as rows:
            # By the portion: row by row, each would be a switch between two stacks.
            async for portion in rows.partitions():
                for row in portion:
                    yield entry_of(row._mapping)  # noqa: SLF001

    async def dearest_entries(self, question: Question, limit: int) -> list[Entry]:
        rows = await self._conn.execute(requests.dearest(question, limit))
        return [entry_of(row._mapping) for row in rows]  # noqa: SLF001

    async def measured(self, question: Question) -> dict[Key, Measured]:
        response = await self._times(question, "processing_ms")
        first = await self._times(question, "first_output_ms")
        errors: defaultdict[Key, dict[str, int]] = defaultdict(dict)
        scores: defaultdict[Key, Scores] = defaultdict(Scores)
        judged = await self._conn.execute(requests.judged(question))
        for *names, error, times, quality, rated, safety, checked in judged:
            key = _key(names)
            scores[key] += Scores(quality or 0, rated, safety or 0, checked)
            if error is not None:
                errors[key][error] = times
        nothing = Distribution()
        return {
            key: Measured(response.get(key, nothing), first.get(key, nothing), scores[key], errors[key])
            for key in response.keys() | first.keys() | scores.keys()
        }

    async def _times(self, question: Question, measure: requests.Measure) -> dict[Key, Distribution]:
        rows = await self._conn.execute(requests.measured(question, measure))
        return {_key(key): Distribution(_counts(told)) for *key, told in rows}

    async def unpriced(self, question: Question) -> list[Unpriced]:
        return [unpriced_of(row) for row in (await self._conn.execute(requests.unpriced(question))).mappings()]

    async def kept_since(self) -> Micros:
        if self._pruned_until is None:
            self._pruned_until = await pruned_until(self._conn)
        return self._pruned_until

    async def _spans(self, question: Question) -> list[Period]:
        if not is_tellable(question):
            return []
        if self._rolled is None:
            self._rolled = await rolled_in(self._conn, None)
        return spans_for(question, self._rolled)

    async def _as_kept(self, question: Question) -> Question:
        """Where records were pruned, a period's edges are those of whole buckets."""
        if question.period is None or question.cancelled:
            return question
        return replace(question, period=as_kept(question.period, await self.kept_since()))


def _is_running(question: Question) -> list[sa.ColumnElement[bool]]:
    """Of `parts`: open, and with usage that matches where anything is asked of that."""
    of_usage = record_conditions(sums, question)
    used = [sa.exists().where(sums.c.part == parts.c.key, *of_usage)] if of_usage else []
    return [IS_OPEN, *part_conditions(question), *used]


def _dearest_first(group: Group) -> tuple[object, ...]:
    names = ((name is None, name or "") for name in group.key.values())
    return -group.totals.cost, -group.totals.total_tokens, *names


def _counts(told: str) -> dict[int, int]:
    """Values and how often each was measured, of "320:2,331:1"."""
    numbers = [int(number) for number in told.replace(":", ",").split(",")]
    return dict(zip(numbers[::2], numbers[1::2], strict=True))


def _key(values: Sequence[str | None]) -> Key:
    # An agent that was not known is stored as ''.
    return tuple(value or None for value in values)
