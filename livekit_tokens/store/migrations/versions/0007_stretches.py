"""How much has been told of a stretch of time that several parts of a session may have seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("since", "until"):
        op.add_column("idempotency", sa.Column(name, sa.BigInteger))


def downgrade() -> None:
    raise NotImplementedError("a ledger is never brought back to an older schema; restore a backup instead")
