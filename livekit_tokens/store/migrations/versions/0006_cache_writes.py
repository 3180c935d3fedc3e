"""Tokens that were written to a provider's cache: a unit of their own, in the sums, and in the input of the views."""

from __future__ import annotations

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UNIT = "cache_write_text"
first = import_module("livekit_tokens.store.migrations.versions.0001_ledger")


def upgrade() -> None:
    for table in ("sums", "day_sums"):
        for name in (UNIT, f"info_{UNIT}"):
            op.add_column(table, sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    dialect = op.get_context().dialect.name
    for name, view in (("token_usage", first.token_usage_view), ("api_usage", first.api_usage_view)):
        made = view(dialect, (*first.INPUT, UNIT))
        if dialect == "postgresql":  # who may read it may do so afterwards
            made = made.replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
        else:
            op.execute(f"DROP VIEW {name}")
        op.execute(made)


def downgrade() -> None:
    raise NotImplementedError("a ledger is never brought back to an older schema; restore a backup instead")
