"""The ingest's statements, written once in SQLAlchemy Core and compiled once per dialect to the driver's own SQL.

Compiled ahead, a batch goes to the driver as tuples; SQLAlchemy would otherwise look at every value of every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from livekit_tokens.domain.sessions import BY_HAND, IN_A_GAP
from livekit_tokens.store.rows import PLAIN, WHOLE, Columns
from livekit_tokens.store.schema import (
    ADDED,
    IS_OPEN,
    idempotency,
    late_figures,
    parts,
    records,
    sources,
    stays,
    sums,
)

checkpoints = sa.select(sources.c.id, sources.c.segment, sources.c.byte_offset, sources.c.seq).where(
    sources.c.id.in_(sa.bindparam("ids", expanding=True))
)

advance = (
    sa.update(sources)
    .where(
        sources.c.id == sa.bindparam("source"),
        sources.c.segment == sa.bindparam("before_segment"),
        sources.c.byte_offset == sa.bindparam("before_offset"),
    )
    .values(
        segment=sa.bindparam("after_segment"),
        byte_offset=sa.bindparam("after_offset"),
        seq=sa.bindparam("after_seq"),
        lost=sources.c.lost + sa.bindparam("more_lost"),
        updated_at=sa.bindparam("now"),
    )
)
"""The compare-and-set of the checkpoint: no row changed means that someone else was first."""

_last_record = sa.select(sa.func.max(records.c.at)).where(records.c.part == parts.c.key).scalar_subquery()

end_in_gap = (
    sa.update(parts)
    .where(
        parts.c.source == sa.bindparam("of_source"),
        IS_OPEN,
        parts.c.key.not_in(sa.bindparam("still_open", expanding=True)),
    )
    .values(
        status="abandoned",
        close_reason=IN_A_GAP,
        ended_at=sa.case((_last_record > parts.c.started_at, _last_record), else_=parts.c.started_at),
    )
)
"""Parts whose end the spool no longer held: nobody would ever close them."""

sessions_of = sa.select(parts.c.key, parts.c.session_id).where(parts.c.key.in_(sa.bindparam("keys", expanding=True)))

_first = parts.alias("first")
_first_opened = (
    sa.select(_first.c.key)
    .where(
        _first.c.session_id == parts.c.session_id,
        _first.c.close_reason.is_distinct_from(BY_HAND),
        _first.c.started_at > sa.bindparam("after"),
    )
    .order_by(_first.c.started_at, _first.c.key)
    .limit(1)
    .scalar_subquery()
)

named_only = (
    sa.select(parts.c.key, _first_opened.label("first"))
    .where(
        parts.c.session_id.in_(sa.bindparam("sessions", expanding=True)),
        parts.c.close_reason == BY_HAND,
        parts.c.started_at > sa.bindparam("after"),
    )
    .order_by(parts.c.key)
)
"""Parts that nobody opened, each with the first one of its session that somebody did; of those begun after a time."""

records_numbered = sa.select(records.c.part, records.c.seq, records.c.at).where(
    records.c.part.in_(sa.bindparam("parts", expanding=True)),
    records.c.seq.between(sa.bindparam("first"), sa.bindparam("last")),
)

stretches_told = (
    sa.select(idempotency.c.digest, idempotency.c.since, idempotency.c.until)
    .where(idempotency.c.digest.in_(sa.bindparam("digests", expanding=True)))
    .order_by(idempotency.c.digest)
    .with_for_update()
)
"""In one order, and held until the commit: two processes that saw the same telephone may tell of it at once."""

extend_stretch = (
    sa.update(idempotency)
    .where(idempotency.c.digest == sa.bindparam("of"))
    .values(since=sa.bindparam("whole_since"), until=sa.bindparam("whole_until"))
)


@dataclass(frozen=True, slots=True)
class Statements:
    """`*_sql` take rows: tuples in the order of the table's columns; if `by_columns`, a list per column, at once.

    `records_sql` by which columns of `records` the rows have. `true` is how the driver takes it soonest.
    """

    begin_sql: str | None
    by_columns: bool
    true: int
    parts_sql: str
    unannounced_sql: str
    stays_sql: str
    records_sql: Mapping[Columns, str]
    sums_sql: str
    first_source: sa.Executable
    first_told: sa.Executable
    late_figures: sa.Executable


def statements_of(dialect: Dialect) -> Statements:
    """Compiled once a process, whichever engine's dialect it is: that takes 7 to 10 ms of the interpreter."""
    key = (dialect.name, dialect.driver)
    if key not in _made:
        _made[key] = _compiled(dialect.name, dialect)
    return _made[key]


_made: dict[tuple[str, str], Statements] = {}


def _compiled(name: str, dialect: Dialect) -> Statements:
    by_columns = name == "postgresql"
    insert: Callable[[sa.Table], Any] = _insert_columns if by_columns else sqlite.insert
    insert_one: Callable[[sa.Table], Any] = postgresql.insert if by_columns else sqlite.insert

    def sql(statement: sa.Executable, columns: Columns | None = None) -> str:
        return str(statement.compile(dialect=dialect, column_keys=columns))  # type: ignore[attr-defined]

    return Statements(
        # BEGIN alone takes the write lock at the first change, too late to wait for it in WAL mode.
        begin_sql="BEGIN IMMEDIATE" if name == "sqlite" else None,
        by_columns=by_columns,
        true=True if by_columns else 1,
        parts_sql=sql(_last_wins(insert(parts), parts)),
        unannounced_sql=sql(insert(parts).on_conflict_do_nothing()),
        stays_sql=sql(_last_wins(insert(stays), stays)),
        # No ON CONFLICT: a record that is there already is an error, never skipped (the sums would double).
        records_sql={columns: sql(sa.insert(records), columns) for columns in (WHOLE, PLAIN)},
        sums_sql=sql(adding(insert(sums))),
        first_source=insert_one(sources).on_conflict_do_nothing(),
        first_told=insert_one(idempotency).on_conflict_do_nothing().returning(idempotency.c.digest),
        late_figures=insert_one(late_figures).on_conflict_do_nothing(),
    )


def _insert_columns(table: sa.Table) -> Any:
    """INSERT ... SELECT FROM unnest(...): PostgreSQL takes all rows in one go, 4 times as fast as one by one."""
    names = [column.name for column in table.columns]
    arrays = (sa.bindparam(column.name, type_=postgresql.ARRAY(column.type)) for column in table.columns)
    rows = sa.func.unnest(*arrays).table_valued(*names, name="given").render_derived()
    return postgresql.insert(table).from_select(names, sa.select(*(rows.c[name] for name in names)))


def _last_wins(insert: Any, table: sa.Table) -> Any:
    changed = {c.name: insert.excluded[c.name] for c in table.columns if not c.primary_key}
    # Whoever says that a part is open, or abandoned, after its owner has closed it, has an older spool of it.
    closed: sa.ColumnElement[str] = sa.literal_column("'closed'")  # no parameter: rows are all that is given
    newer = sa.or_(parts.c.status != closed, insert.excluded.status == closed) if table is parts else None
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed, where=newer)


def adding(insert: Any) -> Any:
    more = {name: sums.c[name] + insert.excluded[name] for name in ADDED}
    earlier = sa.case((insert.excluded.first_at < sums.c.first_at, insert.excluded.first_at), else_=sums.c.first_at)
    return insert.on_conflict_do_update(index_elements=list(sums.primary_key), set_={**more, "first_at": earlier})
