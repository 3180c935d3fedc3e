"""Tables of the ledger, the same on SQLite and PostgreSQL.

Every unique key of `records` and `sums` contains the part (so that they can be distributed by it) and the
time (so that they can be partitioned by month). Times are UTC microseconds, money is nano-dollars.
A unit is one column of `sums`, made from the registry; a new unit needs a numbered migration.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from livekit_tokens.domain import units

metadata = sa.MetaData()


class Json(sa.TypeDecorator[Any]):
    """JSONB on PostgreSQL; None is NULL, not JSON's null. Not as a variant: that imports PostgreSQL's dialect, a
    twentieth of a command's time, also where there is none.
    """

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(sa.JSON(none_as_null=True))
        from sqlalchemy.dialects.postgresql import JSONB  # noqa: PLC0415

        return dialect.type_descriptor(JSONB(none_as_null=True))

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self.impl_instance.coerce_compared_value(op, value)


Key = sa.LargeBinary(16)
Big = sa.BigInteger

INFORMATIONAL = {name: f"info_{name}" for name in units.TOKENS}
"""Token units that only inform have columns of their own: they are never priced."""

LABELS = ("service", "provider", "model", "operation", "agent", "feature", "provenance")
"""What of a record's labels is in the key of its sum, beside part and bucket."""

ADDED = (
    "requests",
    "failed_requests",
    "unpriced_requests",
    *units.REGISTRY,
    *INFORMATIONAL.values(),
    "input_cost",
    "output_cost",
)
"""The columns of sums that are added up."""

_LATER = frozenset({"cache_write_text", "info_cache_write_text"})
"""Columns that revision 0006 added to rows that were there: those have none of it."""


def _quantity(name: str) -> sa.Column[int]:
    return sa.Column(name, Big, nullable=False, server_default="0" if name in _LATER else None)


sources = sa.Table(
    "sources",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", Big, nullable=False),
    sa.Column("started_at", Big, nullable=False),
    # The checkpoint: everything before this place in the source's spool is in the database.
    sa.Column("segment", Big, nullable=False),
    sa.Column("byte_offset", Big, nullable=False),
    sa.Column("seq", Big, nullable=False),
    sa.Column("lost", Big, nullable=False, server_default="0"),
    sa.Column("updated_at", Big, nullable=False),
)

parts = sa.Table(
    "parts",
    metadata,
    sa.Column("key", Key, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("room", sa.Text),
    sa.Column("job", sa.Text),
    sa.Column("agent_name", sa.Text),
    sa.Column("user_id", sa.Text),
    sa.Column("user_name", sa.Text),
    sa.Column("tenant", sa.Text),
    sa.Column("tags", Json, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("started_at", Big, nullable=False),
    sa.Column("ended_at", Big),
    sa.Column("close_reason", sa.Text),
    sa.Index("parts_by_session", "session_id"),
    sa.Index("parts_by_user", "user_id", "started_at"),
    sa.Index("parts_by_start", "started_at"),
    # WHERE status = 'open' (revision 0005). To say so here imports PostgreSQL's dialect, as in Json.
    sa.Index("parts_open", "session_id"),
)

IS_OPEN = parts.c.status == sa.literal_column("'open'")
"""Not as a parameter: the index `parts_open` is used only where the query says it in so many words."""

stays = sa.Table(
    "stays",
    metadata,
    sa.Column("part", Key, primary_key=True),
    sa.Column("sid", sa.Text, primary_key=True),
    sa.Column("identity", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("joined_at", Big, nullable=False),
    sa.Column("left_at", Big),
)

records = sa.Table(
    "records",
    metadata,
    sa.Column("part", Key, nullable=False),
    sa.Column("seq", Big, nullable=False),
    sa.Column("at", Big, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("feature", sa.Text, nullable=False),
    sa.Column("provenance", sa.Text, nullable=False),
    sa.Column("units", Json, nullable=False),
    sa.Column("informational", Json),
    sa.Column("low", Json),
    sa.Column("high", Json),
    sa.Column("success", sa.Boolean, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("processing_ms", Big),
    sa.Column("first_output_ms", Big),
    sa.Column("request_id", sa.Text),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("quality_score", sa.Double),
    sa.Column("safety_score", sa.Double),
    sa.Column("metadata", Json),
    # NULL: no price is known. Never 0 for that.
    sa.Column("input_cost", Big),
    sa.Column("output_cost", Big),
    # Why there is none, or what is special about it (a fallback's).
    sa.Column("price_note", sa.Text),
    sa.PrimaryKeyConstraint("part", "seq", "at"),
    sa.Index("records_by_time", "at"),
)

sums = sa.Table(
    "sums",
    metadata,
    sa.Column("part", Key, nullable=False),
    sa.Column("bucket", Big, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("feature", sa.Text, nullable=False),
    sa.Column("provenance", sa.Text, nullable=False),
    sa.Column("requests", Big, nullable=False),
    sa.Column("failed_requests", Big, nullable=False),
    sa.Column("unpriced_requests", Big, nullable=False),
    *(_quantity(name) for name in units.REGISTRY),
    *(_quantity(name) for name in INFORMATIONAL.values()),
    sa.Column("input_cost", Big, nullable=False),
    sa.Column("output_cost", Big, nullable=False),
    sa.Column("first_at", Big, nullable=False),
    sa.PrimaryKeyConstraint(
        "part", "bucket", "service", "provider", "model", "operation", "agent", "feature", "provenance"
    ),
    # With the part: which calls a period had is then read from the index alone.
    sa.Index("sums_by_time", "bucket", "part"),
)

rolled_days = sa.Table(
    "rolled_days",
    metadata,
    # A UTC day whose sums are added up once more, in `day_sums`. Whoever changes one of them, or the session of one
    # of its parts, ends that: by triggers, so that nobody can forget it (store/rolling.py).
    sa.Column("day", Big, primary_key=True, autoincrement=False),
    # Who is about to add it up, and when that was last heard of; NULL once it is done (store/rolling_up.py).
    sa.Column("taken_by", Big),
    sa.Column("taken_at", Big),
)

day_sums = sa.Table(
    "day_sums",
    metadata,
    sa.Column("day", Big, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in LABELS),
    *(_quantity(name) for name in ADDED),
    # Eight bytes of the digest of each session that has such a record on that day.
    sa.Column("sessions", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("day", *LABELS),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    # The digest of session id and caller's key: a by-hand record counts once per session, whoever repeats it.
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("part", Key, nullable=False),
    sa.Column("seq", Big, nullable=False),
    # Of a stretch of time: what has been told of it so far.
    sa.Column("since", Big),
    sa.Column("until", Big),
)

late_figures = sa.Table(
    "late_figures",
    metadata,
    # What a provider told of a request after its estimate (the source's record `seq`) was written: for reconciling the
    # estimates with its bill. Never summed.
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("at", Big, nullable=False),
    sa.Column("units", Json, nullable=False),
)

repricings = sa.Table(
    "repricings",
    metadata,
    # What changed the prices of records that were in the ledger already: a row each, kept for ever.
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", Big, nullable=False),
    sa.Column("since", Big, nullable=False),
    sa.Column("until", Big, nullable=False),
    sa.Column("provider", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("made_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("records", Big, nullable=False),
    sa.Column("changed", Big, nullable=False),
    sa.Column("cost_before", Big, nullable=False),
    sa.Column("cost_after", Big, nullable=False),
    sa.Column("unpriced_before", Big, nullable=False),
    sa.Column("unpriced_after", Big, nullable=False),
)

prunings = sa.Table(
    "prunings",
    metadata,
    # Written before the first record goes: from then on reports take nothing before `until` from records.
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("begun_at", Big, nullable=False),
    sa.Column("ended_at", Big),
    sa.Column("active_at", Big, nullable=False),
    sa.Column("until", Big, nullable=False),
    # NULL: of every tenant.
    sa.Column("tenant", sa.Text),
    # By RETENTION_DAYS, once a day.
    sa.Column("daily", sa.Boolean, nullable=False),
    sa.Column("records", Big, nullable=False),
    # NULL: sums stayed.
    sa.Column("sums", Big),
)

erasures = sa.Table(
    "erasures",
    metadata,
    # What must not come back by a late spool, as a keyed digest: identities, their names, parts, names of rooms
    # and sessions.
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("at", Big, nullable=False),
)

erasure_keys = sa.Table(
    "erasure_keys",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary(32), nullable=False),
)
