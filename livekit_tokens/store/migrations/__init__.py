"""The schema's history: numbered revisions, applied by Alembic.

This module is read at every connect, so it knows the revisions by name and leaves Alembic (0.3 s to import)
for the moment when an upgrade is due.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""All revisions of this version, oldest first. A test holds it equal to the files in `versions/`."""

HEAD = REVISIONS[-1]
DIALECTS = ("sqlite", "postgresql")


def upgrade(connection: Connection) -> None:
    """Bring the schema to HEAD inside the caller's transaction; the caller holds the database's lock."""
    if not sa.inspect(connection).has_table("alembic_version"):
        for statement in from_nothing(connection.dialect.name):
            connection.exec_driver_sql(statement)
        return
    from alembic import command  # noqa: PLC0415 - imported only when an upgrade is due

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def from_nothing(dialect: str) -> tuple[str, ...]:
    """The statements of all revisions, for an empty database: what Alembic would do, written ahead in `from_nothing/`.

    A first call would wait 0.3 s for Alembic to say it again. A test holds them equal.
    """
    return tuple(_file(dialect).read_text("utf-8").rstrip().split("\n\n"))


def write_from_nothing() -> None:
    """Write them anew, after a new revision."""
    for dialect in DIALECTS:
        _file(dialect).write_text("\n\n".join(told_from_nothing(dialect)) + "\n", "utf-8")


def told_from_nothing(dialect: str) -> tuple[str, ...]:
    """The same, asked of Alembic."""
    told = (text.strip() for text in _told(dialect, "head"))
    return tuple(text for text in told if not text.startswith("--") and text not in ("BEGIN;", "COMMIT;"))


def _file(dialect: str) -> Path:
    return Path(__file__).parent / "from_nothing" / f"{dialect}.sql"


def upgrade_sql(dialect: str, since: str | None = None) -> str:
    """What a DBA must run on a database of that dialect (`sqlite` or `postgresql`), on an empty one or on one of
    revision `since`. Connects to nothing.
    """
    return "".join(_told(dialect, "head" if since is None else f"{since}:head"))


def _told(dialect: str, revisions: str) -> list[str]:
    """What Alembic would do, statement by statement, with its comments."""
    from alembic import command  # noqa: PLC0415

    told: list[str] = []
    config = _config()
    config.output_buffer = _Output(told)
    config.attributes["dialect"] = dialect
    command.upgrade(config, revisions, sql=True)
    return told


class _Output(io.StringIO):
    """Where Alembic writes: each statement at once (alembic/ddl/impl.py, `static_output`)."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self._told = told

    def write(self, text: str) -> int:
        self._told.append(text)
        return len(text)


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    # By package, not by file: it is found wherever the package is installed.
    config.set_main_option("script_location", "livekit_tokens.store:migrations")
    return config
