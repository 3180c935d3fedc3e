"""Who is about to roll up a day, and when that was last heard of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("taken_by", "taken_at"):
        op.add_column("rolled_days", sa.Column(name, sa.BigInteger))


def downgrade() -> None:
    raise NotImplementedError("a ledger is never brought back to an older schema; restore a backup instead")
