"""What an import asks of the ledger, and the tables of other trackers in SQLite files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from livekit_tokens.core.foreign_files import Numbered
from livekit_tokens.core.ledger import Batch
from livekit_tokens.domain.erasure import Forgotten
from livekit_tokens.domain.errors import LedgerUnavailable, NoLedger
from livekit_tokens.domain.foreign import Foreign
from livekit_tokens.domain.sessions import Part
from livekit_tokens.store.connection import StoreConnection, StoreLedger
from livekit_tokens.store.ingest import digest
from livekit_tokens.store.keeping.forgotten import KEY, recall
from livekit_tokens.store.schema import idempotency, parts
from livekit_tokens.store.values import part_of

_TABLES = ("token_usage", "api_usage")


class StoredImport:
    """Fulfils `core.importing.ImportLedger`. Without a `connection` it only looks (a dry run), also where there is no
    ledger yet.
    """

    def __init__(self, ledger: StoreLedger, connection: StoreConnection | None) -> None:
        self._ledger = ledger
        self._connection = connection

    async def known(self, found: Sequence[Foreign]) -> set[int]:
        digests = [digest(one.part.session_id, one.record.idempotency_key or "") for one in found]
        try:
            async with self._ledger.reader() as conn:
                told = sa.select(idempotency.c.digest).where(idempotency.c.digest.in_(digests))
                there = set((await conn.execute(told)).scalars())
        except NoLedger:
            return set()
        return {place for place, one in enumerate(digests) if one in there}

    async def erased(self, users: Iterable[str]) -> set[str]:
        try:
            async with self._ledger.reader() as conn:
                if (key := (await conn.execute(KEY)).scalar()) is None:
                    return set()
                forgotten, asked = Forgotten(key), set(users)
                await recall(conn, forgotten, {forgotten.digest("identity", user) for user in asked})
        except NoLedger:
            return set()
        return {user for user in asked if forgotten.has("identity", user)}

    async def parts(self, keys: Iterable[str]) -> list[Part]:
        async with self._ledger.reader() as conn:
            rows = await conn.execute(sa.select(parts).where(parts.c.key.in_([bytes.fromhex(key) for key in keys])))
            return [part_of(row) for row in rows]

    async def apply(self, batch: Batch) -> bool:
        assert self._connection is not None
        return await self._connection.apply(batch)


def tables_of(path: Path) -> Iterator[Numbered]:
    """The rows of `token_usage` and `api_usage`. Raises LedgerUnavailable for a file with neither, and for a ledger."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as conn:
            conn.row_factory = sqlite3.Row
            names = {
                row["name"] for row in conn.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            }
            if "alembic_version" in names and "sources" in names:
                raise LedgerUnavailable(f"{path} is a ledger of livekit-tokens; `restore` puts it in place")
            if not (tables := [name for name in _TABLES if name in names]):
                raise LedgerUnavailable(f"{path} has neither of the tables {' and '.join(_TABLES)}")
            for table in tables:
                for number, row in enumerate(conn.execute(f"SELECT * FROM {table}"), 1):  # noqa: S608 - one of two
                    yield Numbered(number, {"table": table, **dict(row)})
    except sqlite3.DatabaseError as fault:
        raise LedgerUnavailable(f"{path} cannot be read ({fault})") from fault
