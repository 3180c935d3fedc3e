"""Prices: why a record has none, and what has changed prices afterwards.

Both are quick on a filled ledger: a column without a default rewrites no row, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("records", sa.Column("price_note", sa.Text))
    op.create_table(
        "repricings",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("provider", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("cost_before", sa.BigInteger, nullable=False),
        sa.Column("cost_after", sa.BigInteger, nullable=False),
        sa.Column("unpriced_before", sa.BigInteger, nullable=False),
        sa.Column("unpriced_after", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("a ledger is never brought back to an older schema; restore a backup instead")
