"""Usage added up: rolled days out of `day_sums`, whole 15-minute buckets out of `sums`, the partial edges of a period
out of `records`.

The same SQL on SQLite and PostgreSQL; both use the tables' time index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from livekit_tokens.core.reports import Question
from livekit_tokens.domain import units as u
from livekit_tokens.domain.periods import ALWAYS, CUTTINGS, Period, split
from livekit_tokens.store.conditions import (
    key_of,
    part_conditions,
    quantity,
    record_conditions,
    span_conditions,
)
from livekit_tokens.store.cutting import number_of
from livekit_tokens.store.rolling import beside
from livekit_tokens.store.schema import ADDED, INFORMATIONAL, day_sums, parts, records, sums

_SHARES = ("unknown_requests", "estimated_requests", "estimated_tokens", "estimated_cost")
"""What `grouped` tells of the provenance, beside the columns of the sums."""


def grouped(question: Question, rolled: Sequence[Period] = ()) -> sa.Select[Any]:
    """Sums and counts of sessions, one row a group: `k0`, `k1` ..., `sessions` and the columns of the sums.

    With `rolled` spans of rolled days, what lies in them is added; `sessions` is 0 then, as they are told by digests:
    nothing that only parts know is asked, and so the parts are not looked at.
    """
    keys = [f"k{i}" for i in range(len(question.by))]
    pieces = [
        _amounts(piece, question, names_sessions=not rolled) for piece in (*_pieces(question, rolled), *_rolled(rolled))
    ]
    rows = sa.union_all(*pieces).subquery("usage")
    estimated = rows.c.provenance == "estimated"
    billed_tokens = sum((rows.c[name] for name in u.TOKENS), sa.literal_column("0"))
    # Counting different ids is a sort: not where none is known, nor where a group is one session.
    one = "0" if rolled else "1" if "session" in question.by else None
    sessions = sa.func.count(rows.c.session.distinct()) if one is None else sa.literal_column(one)
    return sa.select(
        *(rows.c[key] for key in keys),
        sessions.label("sessions"),
        *(sa.func.sum(rows.c[name]).label(name) for name in ADDED),
        _sum_if(rows.c.provenance == "unknown", rows.c.requests, "unknown_requests"),
        _sum_if(estimated, rows.c.requests, "estimated_requests"),
        _sum_if(estimated, billed_tokens, "estimated_tokens"),
        _sum_if(estimated, rows.c.input_cost + rows.c.output_cost, "estimated_cost"),
    ).group_by(*(rows.c[key] for key in keys))


def sessions_beside(question: Question, rolled: Sequence[Period]) -> sa.Select[Any]:
    """Keys and each session that has a matching record outside of the rolled days, more than once."""
    # Each part is looked up: for a join PostgreSQL goes through all parts of the ledger, the longer the more there are.
    found = (_parts_of(piece, question, *_keys(piece, question)) for piece in _pieces(question, rolled))
    rows = sa.union(*found).subquery("usage")
    session = sa.select(parts.c.session_id).where(parts.c.key == rows.c.part).scalar_subquery()
    return sa.select(*(rows.c[f"k{i}"] for i in range(len(question.by))), session).select_from(rows)


def sessions_rolled(question: Question, rolled: Sequence[Period]) -> sa.CompoundSelect[Any]:
    """Keys and the digests of the sessions of each row of the rolled days."""
    return sa.union_all(*(_amounts(piece, question, ("sessions",)) for piece in _rolled(rolled)))


def dearest_groups(question: Question, limit: int) -> sa.CompoundSelect[Any]:
    """Of each name of `by`, alone, the groups that cost most, then those with most tokens, then by name. `of` is the
    name's place, and `k0` its value.

    Sums are gone through once: the groups of all names are made of the sessions'.
    """
    names = tuple(dict.fromkeys((*question.by, "session")))
    each = grouped(replace(question, by=names)).cte("each_session")
    session = each.c[f"k{names.index('session')}"]
    return sa.union_all(*(sa.select(_dearest(each, place, session, limit)) for place in range(len(question.by))))


def _dearest(each: sa.CTE, place: int, session: sa.ColumnElement[str], limit: int) -> sa.Subquery:
    name = each.c[f"k{place}"]
    amounts = {amount: sa.func.sum(each.c[amount]) for amount in (*ADDED, *_SHARES)}
    tokens: Any = sum((amounts[unit] for unit in (*u.TOKENS, *INFORMATIONAL.values())), sa.literal_column("0"))
    cost = amounts["input_cost"] + amounts["output_cost"]
    return (
        sa.select(
            sa.literal_column(str(place)).label("of"),
            name.label("k0"),
            sa.func.count(session.distinct()).label("sessions"),
            *(summed.label(amount) for amount, summed in amounts.items()),
        )
        .group_by(name)
        .order_by(cost.desc(), tokens.desc(), name.nulls_last())
        .limit(limit)
        .subquery()
    )


def session_costs(question: Question) -> sa.Select[Any]:
    """What a session cost, and how many sessions cost just that."""
    asked = replace(question, by=(), cuts=())
    amounts = (_amounts(piece, asked, ("input_cost", "output_cost")) for piece in _pieces(asked))
    rows = sa.union_all(*amounts).subquery("usage")
    cost = sa.func.sum(rows.c.input_cost + rows.c.output_cost).label("cost")
    each = sa.select(cost).group_by(rows.c.session).subquery("each")
    return sa.select(each.c.cost, sa.func.count().label("sessions")).group_by(each.c.cost)


Piece = tuple[sa.Table, sa.ColumnElement[int], Sequence[Period]]
"""A table, the column of its times, and in which spans its rows are meant."""

_NOWHERE: Piece = (sums, sums.c.bucket, [Period(0, 0)])


def _rolled(spans: Iterable[Period]) -> list[Piece]:
    return [(day_sums, day_sums.c.day, [span]) for span in spans]


def _pieces(question: Question, rolled: Sequence[Period] = ()) -> list[Piece]:
    """Where a period's usage is found beside the rolled spans: a record stands in exactly one piece. Without a
    period, all sums.

    Sums do not tell what was cancelled: that is found in the records, as far as they are kept.
    """
    period = question.period
    if question.cancelled:
        return [(records, records.c.at, [] if period is None else [period])]
    if period is None and not rolled:
        return [(sums, sums.c.bucket, [])]
    cuts = [split(rest) for rest in beside(period or ALWAYS, rolled)]
    # All edges in one piece: to say what a record adds to its sums makes a long statement.
    edges = [span for cut in cuts for span in (cut.head, cut.tail) if not span.empty]
    whole: list[Piece] = [(sums, sums.c.bucket, [cut.whole]) for cut in cuts if not cut.whole.empty]
    found = [*whole, (records, records.c.at, edges)] if edges else whole
    return found or [_NOWHERE]


def _within(at: sa.ColumnElement[int], spans: Sequence[Period]) -> list[sa.ColumnElement[bool]]:
    """In one of the spans; without any, at any time."""
    return [sa.or_(*(sa.and_(*span_conditions(at, span)) for span in spans))] if spans else []


def _amounts(
    piece: Piece, question: Question, told: Sequence[str] = ("provenance", *ADDED), *, names_sessions: bool = True
) -> sa.Select[Any]:
    """Keys, session (rolled days do not know it) and the columns that are `told`, of a piece's matching rows."""
    table, at, spans = piece
    is_joined = names_sessions and table is not day_sums
    source: sa.FromClause = table.join(parts, parts.c.key == table.c.part) if is_joined else table
    return (
        sa.select(
            *_keys(piece, question),
            (parts.c.session_id if is_joined else sa.null()).label("session"),
            *(_column(table, name) for name in told),
        )
        .select_from(source)
        .where(*_within(at, spans), *record_conditions(table, question), *part_conditions(question))
    )


def matching_parts(question: Question) -> sa.CompoundSelect[Any]:
    """The keys of all parts with a matching record, more than once."""
    # Once a time, in the order of the index `sums_by_time`: of five rows there is one left to be told apart.
    pieces = _pieces(question)
    return sa.union_all(*(_parts_of(piece, question).group_by(piece[1], piece[0].c.part) for piece in pieces))


def _parts_of(piece: Piece, question: Question, *told: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """What is `told`, and the part, of a piece's matching rows."""
    table, at, spans = piece
    picked = sa.select(*told, table.c.part).where(*_within(at, spans), *record_conditions(table, question))
    # Joined only where a filter needs it: without, this is most of the time that a long period takes.
    if asked := part_conditions(question):
        picked = picked.select_from(table.join(parts, parts.c.key == table.c.part)).where(*asked)
    return picked


def _column(table: sa.Table, name: str) -> sa.ColumnElement[Any]:
    return _OF_RECORDS[name] if table is records and name in _OF_RECORDS else table.c[name]


def amounts_of_records() -> list[sa.ColumnElement[Any]]:
    """A record in the columns of `sums`: what `domain.totals.totals_of` says of it."""
    billed = {name: quantity(records.c.units, name) for name in u.REGISTRY}
    told = {column: quantity(records.c.informational, name) for name, column in INFORMATIONAL.items()}
    something = sa.or_(sum(billed.values(), sa.literal_column("0")) > 0, records.c.provenance == "unknown")
    no_price = sa.or_(records.c.input_cost.is_(None), records.c.output_cost.is_(None))
    columns: dict[str, sa.ColumnElement[Any]] = {
        "requests": sa.literal_column("1", sa.BigInteger),
        "failed_requests": sa.case((records.c.success, 0), else_=1),
        "unpriced_requests": sa.case((sa.and_(no_price, something), 1), else_=0),
        **billed,
        **told,
        "input_cost": sa.func.coalesce(records.c.input_cost, 0),
        "output_cost": sa.func.coalesce(records.c.output_cost, 0),
    }
    return [columns[name].label(name) for name in ADDED]


_OF_RECORDS = {column.name: column for column in amounts_of_records()}


def _keys(piece: Piece, question: Question) -> Iterator[sa.ColumnElement[Any]]:
    """What a row is grouped by, as `k0`, `k1` ..."""
    table, at, _ = piece
    for number, name in enumerate(question.by):
        key = number_of(at, question.cuts) if name in CUTTINGS else key_of(table, name)
        yield key.label(f"k{number}")


def _sum_if(condition: sa.ColumnElement[bool], amount: Any, name: str) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, amount), else_=0)).label(name)
