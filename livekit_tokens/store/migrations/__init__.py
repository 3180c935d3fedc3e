"""The schema's history: numbered revisions, applied by Alembic.

This module is read at every connect, so it knows the revisions by name and leaves Alembic (0.3 s to import)
for the moment when an upgrade is due.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""All revisions of this version, oldest first. A test holds it equal to the files in `versions/`."""

HEAD = REVISIONS[-1]


def upgrade(connection: Connection) -> None:
    """Bring the schema to HEAD inside the caller's transaction; the caller holds the database's lock."""
    from alembic import command  # noqa: PLC0415 - imported only when an upgrade is due

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def upgrade_sql(dialect: str, since: str | None = None) -> str:
    """What a DBA must run on a database of that dialect (`sqlite` or `postgresql`), on an empty one or on one of
    revision `since`. Connects to nothing.
    """
    from alembic import command  # noqa: PLC0415

    out = io.StringIO()
    config = _config()
    config.output_buffer = out
    config.attributes["dialect"] = dialect
    command.upgrade(config, "head" if since is None else f"{since}:head", sql=True)
    return out.getvalue()


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    # By package, not by file: it is found wherever the package is installed.
    config.set_main_option("script_location", "livekit_tokens.store:migrations")
    return config
