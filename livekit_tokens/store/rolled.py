"""Questions answered out of rolled days, where they can be: what only parts know (users, rooms, tags) cannot."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.reports import Group, Question
from livekit_tokens.domain.periods import CUTTINGS, DAY, Period
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.totals import Totals
from livekit_tokens.store.conditions import OF_RECORD, part_conditions
from livekit_tokens.store.grouping import grouped, sessions_beside, sessions_rolled
from livekit_tokens.store.rolling import session_digest, spans_of
from livekit_tokens.store.values import group_of

_FROM_DAYS = 2
"""Fewer rolled days than this are not worth a second and a third query."""
_MOST_SPANS = 50
"""More spans than this make a long statement of little use: somebody rolls up, or fills the ledger's past, just now."""

_TELLABLE = {*OF_RECORD, "kind", *CUTTINGS}


def is_tellable(question: Question) -> bool:
    """Whether rolled days could answer a question, and that is a gain."""
    long = question.period is None or question.period.until - question.period.since >= _FROM_DAYS * DAY
    return long and _TELLABLE.issuperset(question.by) and not question.cancelled and not part_conditions(question)


def spans_for(question: Question, rolled: Sequence[Micros]) -> list[Period]:
    """Spans of the rolled days that a question can be answered from; none where it cannot, or where that is no gain."""
    if not is_tellable(question):
        return []
    period = question.period
    within = [day for day in rolled if period is None or (period.since <= day and day + DAY <= period.until)]
    days = _uncut(within, question)
    spans = spans_of(days)
    return spans if len(days) >= _FROM_DAYS and len(spans) <= _MOST_SPANS else []


def _uncut(days: Sequence[Micros], question: Question) -> list[Micros]:
    """Days that lie in one cut as a whole: the days of another time zone cut every day of UTC in two."""
    if not question.cuts:
        return list(days)
    whole: list[Micros] = []
    cuts = iter(question.cuts)
    cut = next(cuts, None)
    for day in days:
        while cut is not None and cut.span.until <= day:
            cut = next(cuts, None)
        if cut is not None and cut.span.since <= day and day + DAY <= cut.span.until:
            whole.append(day)
    return whole


class Told(NamedTuple):
    """A group out of rolled days. With the digests of its sessions, coarser groups can be made of finer ones."""

    group: Group
    sessions: array[int]


async def told_from(conn: AsyncConnection, question: Question, spans: Sequence[Period]) -> list[Told]:
    """What `grouped` says, out of rolled days and what is beside them."""
    digests: defaultdict[tuple[Any, ...], list[bytes]] = defaultdict(list)
    for *key, _, told in (await conn.execute(sessions_rolled(question, spans))).all():
        digests[tuple(key)].append(told)
    for *key, session in (await conn.execute(sessions_beside(question, spans))).all():
        if session is not None:  # whose part somebody has deleted
            digests[tuple(key)].append(session_digest(session))
    found = []
    for row in (await conn.execute(grouped(question, spans))).mappings():
        # As numbers of 8 bytes, whatever their order on this machine: they are only told apart.
        sessions = array("Q", b"".join(digests[tuple(row[f"k{i}"] for i in range(len(question.by)))]))
        if row["requests"]:
            found.append(Told(group_of(question, {**row, "sessions": len(set(sessions))}), sessions))
    return found


def is_told_by(question: Question, finer: Question) -> bool:
    """Whether the groups of one question can be put together from those of another."""
    by, cuts = set(question.by), question.cuts
    return by.issubset(finer.by) and replace(finer, by=question.by, cuts=cuts) == question and cuts in ((), finer.cuts)


def coarser(question: Question, finer: Sequence[Told]) -> list[Group]:
    """The groups of a question, put together from finer ones."""
    found: defaultdict[tuple[str | None, ...], list[Told]] = defaultdict(list)
    for told in finer:
        found[tuple(told.group.key[name] for name in question.by)].append(told)
    return [
        Group(
            dict(zip(question.by, key, strict=True)),
            len(set(chain.from_iterable(told.sessions for told in each))),
            sum((told.group.totals for told in each), Totals()),
        )
        for key, each in found.items()
    ]
