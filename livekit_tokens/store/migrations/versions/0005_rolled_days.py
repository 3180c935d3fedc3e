"""Days that are over, added up once more; and indexes for open parts and for the parts of a period."""

# ruff: noqa: S608 - names and numbers of this file only

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Frozen here, as in 0001.
LABELS = ("service", "provider", "model", "operation", "agent", "feature", "provenance")
TOKENS = (
    "input_text",
    "input_audio",
    "input_image",
    "cached_input_text",
    "cached_input_audio",
    "cached_input_image",
    "output_text",
    "output_audio",
    "output_reasoning",
)
AMOUNTS = (
    "requests",
    "failed_requests",
    "unpriced_requests",
    *TOKENS,
    "audio_ms",
    "session_ms",
    "characters",
    *(f"info_{name}" for name in TOKENS),
    "input_cost",
    "output_cost",
)
DAY = 86_400_000_000


def upgrade() -> None:
    is_open = sa.text("status = 'open'")
    op.create_index("parts_open", "parts", ["session_id"], sqlite_where=is_open, postgresql_where=is_open)
    op.drop_index("sums_by_time", "sums")
    op.create_index("sums_by_time", "sums", ["bucket", "part"])
    op.create_table("rolled_days", sa.Column("day", sa.BigInteger, primary_key=True, autoincrement=False))
    op.create_table(
        "day_sums",
        sa.Column("day", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in LABELS),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in AMOUNTS),
        sa.Column("sessions", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("day", *LABELS),
    )
    for statement in (
        _triggers_of_postgres() if op.get_context().dialect.name == "postgresql" else _triggers_of_sqlite()
    ):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("a ledger is never brought back to an older schema; restore a backup instead")


def _triggers_of_sqlite() -> list[str]:
    """A day is no longer rolled up once one of its sums changes, or one of its parts is given to another session."""
    of_part = f"SELECT bucket - bucket % {DAY} FROM sums WHERE part = OLD.key"
    changes = (
        ("sums_inserted", "INSERT ON sums", f"NEW.bucket - NEW.bucket % {DAY}"),
        ("sums_updated", "UPDATE ON sums", f"NEW.bucket - NEW.bucket % {DAY}"),
        ("sums_deleted", "DELETE ON sums", f"OLD.bucket - OLD.bucket % {DAY}"),
        ("parts_moved", "UPDATE OF session_id ON parts WHEN OLD.session_id <> NEW.session_id", of_part),
        ("parts_deleted", "DELETE ON parts", of_part),
    )
    return [
        f"CREATE TRIGGER {name} AFTER {change} BEGIN DELETE FROM rolled_days WHERE day IN ({days}); END"
        for name, change, days in changes
    ]


def _triggers_of_postgres() -> list[str]:
    """The same; of sums once a statement."""
    of_changed = f"SELECT bucket - bucket % {DAY} FROM changed"
    of_part = f"SELECT bucket - bucket % {DAY} FROM sums WHERE part = OLD.key"
    functions = [
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"DELETE FROM rolled_days WHERE day IN ({days}); RETURN NULL; END $$"
        for name, days in (("unroll_days_of_sums", of_changed), ("unroll_days_of_part", of_part))
    ]
    of_sums = [
        f"CREATE TRIGGER {name} AFTER {change} ON sums REFERENCING {rows} TABLE AS changed "
        "FOR EACH STATEMENT EXECUTE FUNCTION unroll_days_of_sums()"
        for name, change, rows in (
            ("sums_inserted", "INSERT", "NEW"),
            ("sums_updated", "UPDATE", "NEW"),
            ("sums_deleted", "DELETE", "OLD"),
        )
    ]
    of_parts = [
        f"CREATE TRIGGER {name} AFTER {change} EXECUTE FUNCTION unroll_days_of_part()"
        for name, change in (
            (
                "parts_moved",
                "UPDATE OF session_id ON parts FOR EACH ROW WHEN (OLD.session_id IS DISTINCT FROM NEW.session_id)",
            ),
            ("parts_deleted", "DELETE ON parts FOR EACH ROW"),
        )
    ]
    return functions + of_sums + of_parts
