"""Keeping house: what was pruned, and whom the ledger has forgotten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prunings",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("active_at", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("daily", sa.Boolean, nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("sums", sa.BigInteger),
    )
    op.create_table(
        "erasures",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "erasure_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary(32), nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("a ledger is never brought back to an older schema; restore a backup instead")
