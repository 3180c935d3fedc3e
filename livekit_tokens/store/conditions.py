"""What a question's filters and period mean in SQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from livekit_tokens.core.reports import Question
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.usage import KIND_OF
from livekit_tokens.store.schema import parts, records, sources

OF_RECORD = ("service", "provider", "model", "operation", "feature", "agent")
"""What records and sums say themselves."""

OF_PART = {
    "user": parts.c.user_id,
    "tenant": parts.c.tenant,
    "room": parts.c.room,
    "session": parts.c.session_id,
    "part": parts.c.key,
}
"""What only the part says."""


IN_CALL = sa.or_(parts.c.room.is_not(None), parts.c.job.is_not(None))
"""A part of a call: what is imported, or told by hand, has a length that nobody was on the line for."""


heard_at = sa.select(sources.c.updated_at).where(sources.c.id == parts.c.source).scalar_subquery()
"""When a part's process last brought something into the ledger."""


def span_conditions(at: sa.ColumnElement[int], span: Period | None) -> list[sa.ColumnElement[bool]]:
    return [] if span is None else [at >= span.since, at < span.until]


def record_conditions(table: sa.Table, question: Question) -> list[sa.ColumnElement[bool]]:
    """Of `records` or `sums`."""
    asked = {name: getattr(question.filters, name) for name in OF_RECORD}
    conditions = [table.c[name] == value for name, value in asked.items() if value is not None]
    return [*conditions, cancelled()] if question.cancelled else conditions


def cancelled() -> sa.ColumnElement[bool]:
    """A request of `records` that was cut off: a response by its status, others by their mark."""
    status, mark = (sa.cast(records.c.metadata[name].as_string(), sa.Text) for name in ("status", "cancelled"))
    # A JSON true is 1 on SQLite.
    return sa.or_(status == "cancelled", mark.in_(("true", "1")))


def part_conditions(question: Question) -> list[sa.ColumnElement[bool]]:
    """Of `parts`; empty where the table need not be joined."""
    filters = question.filters
    asked = {name: getattr(filters, name) for name in ("user", "tenant", "room")}
    conditions = [OF_PART[name] == value for name, value in asked.items() if value is not None]
    conditions += [parts.c.tags[key].as_string() == value for key, value in filters.tags.items()]
    if question.in_calls:
        conditions.append(IN_CALL)
    if question.sessions is not None:
        conditions.append(parts.c.session_id.in_(question.sessions))
    return conditions


def key_of(table: sa.Table, name: str) -> sa.ColumnElement[Any]:
    """The column of a grouping that is not one in time; `parts` is joined."""
    if name.startswith("tag:"):
        column: sa.ColumnElement[Any] = parts.c.tags[name.removeprefix("tag:")].as_string()
        return column
    if name == "kind":
        return sa.case(*((table.c.service == service, kind) for service, kind in KIND_OF.items()), else_="other")
    return table.c[name] if name in OF_RECORD else OF_PART[name]


def quantity(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[int]:
    # Through text: as_integer() would be 32 bits on PostgreSQL.
    return sa.func.coalesce(sa.cast(column[name].as_string(), sa.BigInteger), 0)
