"""Alembic's entry: it runs this file, by `migrations.upgrade` only."""

from __future__ import annotations

from alembic import context

from livekit_tokens.store.schema import metadata

if context.is_offline_mode():
    dialect = context.config.attributes["dialect"]
    # By another style of parameters, as `pyformat`, each % would be written twice.
    style = {"paramstyle": "named"}
    context.configure(dialect_name=dialect, dialect_opts=style, target_metadata=metadata, literal_binds=True)
else:
    # The caller has begun the transaction and holds the lock; Alembic joins it and does not commit.
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)

with context.begin_transaction():
    context.run_migrations()
