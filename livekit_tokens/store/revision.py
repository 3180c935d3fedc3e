"""Which schema a database has, and bringing it to this version's: checked at every connect, upgraded under a lock."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import exc as sa_exc
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.errors import LedgerTooNew, LedgerUnavailable
from livekit_tokens.store.engines import LOCK_SECONDS
from livekit_tokens.store.faults import is_missing_table
from livekit_tokens.store.locks import in_turns
from livekit_tokens.store.migrations import HEAD, REVISIONS, upgrade
from livekit_tokens.store.schema import metadata

VIEWS = ("token_usage", "api_usage")

_LOCK = int.from_bytes(b"lktokens") % 2**63
"""PostgreSQL's advisory locks are numbered per database; this number is ours."""

_WAIT_MS = 30_000
"""How long a process waits while another one upgrades (SQLite): 16 that start at once take turns."""


async def revision_of(conn: AsyncConnection) -> str | None:
    """The database's revision; None for a database without a ledger. Leaves no transaction behind in that case."""
    try:
        found = (await conn.exec_driver_sql("SELECT version_num FROM alembic_version")).scalars().all()
    except sa_exc.DBAPIError as fault:
        if not is_missing_table(fault):
            raise
        await conn.rollback()
        return None
    return "+".join(sorted(found)) or None


def is_current(revision: str | None, where: object) -> bool:
    """Whether nothing is to be upgraded. Raises LedgerTooNew for a revision that this version does not know."""
    if revision is None or revision in REVISIONS:
        return revision == HEAD
    if not (revision.isdigit() and len(revision) == len(HEAD)):
        raise LedgerUnavailable(
            f"the database {where} is another application's (its alembic_version says {revision[:40]!r}); "
            "give livekit-tokens a database of its own, or in PostgreSQL a schema (?options=-csearch_path%3Dname)"
        )
    raise LedgerTooNew(
        f"the ledger at {where} has schema {revision}, made by a newer livekit-tokens; this one knows up to {HEAD}: "
        "upgrade livekit-tokens here (pip install -U livekit-tokens), or name another DATABASE_URL"
    )


async def bring_up_to_date(conn: AsyncConnection, where: object) -> None:
    """Upgrade if that is due. Any number of processes may do so at once: one does it, the others find it done."""
    revision = await revision_of(conn)
    await conn.rollback()
    if is_current(revision, where):
        return
    if revision is not None:  # before the lock is held: under it only the tables are made
        import alembic.command  # noqa: F401, PLC0415
    sqlite = conn.dialect.name == "sqlite"
    if sqlite:
        patience = (await conn.exec_driver_sql("PRAGMA busy_timeout")).scalar_one()
        await conn.exec_driver_sql(f"PRAGMA busy_timeout = {_WAIT_MS}")
        await conn.rollback()
    async with conn.begin():
        if sqlite:
            await conn.exec_driver_sql("BEGIN EXCLUSIVE")
        else:
            await conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        if not is_current(await conn.run_sync(_revision_now), where):
            if sqlite:
                await conn.run_sync(_upgrade, where)
            else:  # a reader may go on for hours, and the older version's drains would wait behind who waits for it
                await in_turns(conn, lambda: conn.run_sync(_upgrade, where), LOCK_SECONDS)
    if sqlite:
        await conn.exec_driver_sql(f"PRAGMA busy_timeout = {patience}")
        await conn.rollback()


def _revision_now(connection: Connection) -> str | None:
    # Not by trying: a failed SELECT would end PostgreSQL's transaction, and the lock with it.
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _upgrade(connection: Connection, where: object) -> None:
    inspector = sa.inspect(connection)
    if not inspector.has_table("alembic_version"):
        there = {*inspector.get_table_names(), *inspector.get_view_names()}
        if taken := sorted(there & {*metadata.tables, *VIEWS}):
            raise LedgerUnavailable(
                f"the database {where} already has {', '.join(taken)}, not made by livekit-tokens; give it a database "
                "of its own, or in PostgreSQL a schema (?options=-csearch_path%3Dname), or rename what is there"
            )
    upgrade(connection)
