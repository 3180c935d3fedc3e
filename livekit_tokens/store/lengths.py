"""How long calls went on: of the parts that match a question, each moment of a session once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from livekit_tokens.core.reports import Question
from livekit_tokens.domain.sessions import SILENT
from livekit_tokens.domain.times import Micros
from livekit_tokens.store.conditions import IN_CALL, heard_at
from livekit_tokens.store.grouping import matching_parts
from livekit_tokens.store.schema import parts


class _ByBytes(FunctionElement[str]):
    """A text to be put in order by its bytes, as SQLite does; PostgreSQL would ask the locale about each two."""

    inherit_cache = True


@compiles(_ByBytes)
def _as_it_is(text: _ByBytes, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(text.clauses, **options)


@compiles(_ByBytes, "postgresql")
def _without_locale(text: _ByBytes, compiler: SQLCompiler, **options: Any) -> str:
    return f'{compiler.process(text.clauses, **options)} COLLATE "C"'


def calls(question: Question, now: Micros) -> sa.Select[Any]:
    """How many sessions have a matching record; how long their calls went on, `domain.sessions.call_time` of each; and
    how many of their parts are no call's."""
    # Each step names what the next one uses: written out twice, with its parameters, SQLite would work it out twice.
    each = _lengths(question, now).subquery("each")
    # Where an earlier part of the session reaches into this one, it is counted already. Of those that begin together
    # any may be the earlier one: there is less to sort by without their keys, a tenth of what this takes.
    session = _ByBytes(each.c.session_id)
    reached = sa.func.max(each.c.ended).over(partition_by=session, order_by=each.c.started, rows=(None, -1))
    told = sa.select(each, reached.label("reached")).subquery("told")
    # The first part of each session is the session: counting different ids would be another sort.
    first = sa.case((told.c.reached.is_(None), 1), else_=0)
    since = _later(told.c.started, sa.func.coalesce(told.c.reached, told.c.started))
    length = sa.case((told.c.ended > since, told.c.ended - since), else_=0)
    return sa.select(*(sa.func.coalesce(sa.func.sum(found), 0) for found in (first, length, told.c.other)))


def _lengths(question: Question, now: Micros) -> sa.Select[Any]:
    """The parts with a matching record, from when until when they went on within the period."""
    started: sa.ColumnElement[int] = parts.c.started_at
    # Of an open part, what `domain.sessions.as_heard_of` says.
    silent = sa.case((heard_at < now - SILENT, _later(heard_at, parts.c.started_at)), else_=now)
    ended: sa.ColumnElement[int] = sa.func.coalesce(parts.c.ended_at, silent)
    if (period := question.period) is not None:
        started, ended = _later(started, sa.literal(period.since)), _earlier(ended, sa.literal(period.until))
    return sa.select(
        parts.c.session_id,
        started.label("started"),
        sa.case((IN_CALL, ended), else_=started).label("ended"),
        sa.case((IN_CALL, 0), else_=1).label("other"),
    ).where(parts.c.key.in_(matching_parts(question)))


def _later(one: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.case((one > other, one), else_=other)


def _earlier(one: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.case((one < other, one), else_=other)
