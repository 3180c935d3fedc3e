"""The ledger in a database: how it is found, opened and held. Fulfils `core.ledger.Ledger`.

A `StoreLedger` belongs to one event loop. Writers have a connection of their own; readers see one consistent
snapshot each, and never write.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from livekit_tokens.core.ledger import Batch, Checkpoint
from livekit_tokens.domain.errors import LedgerUnavailable, NoLedger
from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.pricing import Pricing, unpriced
from livekit_tokens.domain.times import Micros
from livekit_tokens.store import ingest
from livekit_tokens.store.address import SqliteAddress, address_of
from livekit_tokens.store.durable import make_durable
from livekit_tokens.store.engines import (
    READERS,
    Identity,
    identity_of,
    make_private,
    postgres_engine,
    sqlite_engine,
)
from livekit_tokens.store.faults import Unstorable, driver_told, told
from livekit_tokens.store.keeping import removal
from livekit_tokens.store.revision import bring_up_to_date, is_current, revision_of
from livekit_tokens.store.rolling import roll_up
from livekit_tokens.store.rows import Numbered
from livekit_tokens.store.schema import sources
from livekit_tokens.store.statements import Statements, statements_of

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Entry

_T = TypeVar("_T")
_MOST_KNOWN = 4096
"""Parts that are in the ledger for certain; beyond so many all are forgotten, and looked up again."""


def wall_clock() -> Micros:
    return time.time_ns() // 1000


class StoreLedger:
    """The ledger at `database_url`. Raises BadSetting at once for a URL that cannot be used; opens nothing yet.

    `pricing` fixes each record's price when it is inserted.
    """

    def __init__(
        self, database_url: str, *, pricing: Pricing = unpriced, clock: Callable[[], Micros] = wall_clock
    ) -> None:
        self.address = address_of(database_url)
        self._pricing = pricing
        self._clock = clock
        if isinstance(self.address, SqliteAddress):
            path = self.address.path
            self._writing = sqlite_engine(path, "rwc")
            self._reading = sqlite_engine(path, "ro")
        else:
            self._writing = postgres_engine(self.address, poolclass=NullPool)
            self._reading = postgres_engine(
                self.address, pool_size=READERS, max_overflow=READERS * 4, pool_pre_ping=True
            )

    def prepare(self) -> None:
        """Do ahead what the first connection would do while a call is going on; opens nothing."""
        statements_of(self._writing.dialect)

    async def connect(self) -> StoreConnection:
        """A connection that writes, on a schema of this version: made or upgraded where that is due.

        Raises LedgerUnavailable or LedgerTooNew.
        """
        with told(self.address):
            opened = make_private(self.address.path) if isinstance(self.address, SqliteAddress) else None
            conn = await self._writing.connect()
            try:
                await bring_up_to_date(conn, self.address)
                driver = (await conn.get_raw_connection()).driver_connection
            except BaseException:
                await conn.close()
                raise
        made = StoreConnection(self, conn, driver, opened, pricing=self._pricing, clock=self._clock)
        if made.stale():
            await made.aclose()
            raise LedgerUnavailable(f"the ledger at {self.address} was replaced while it was opened; it is tried again")
        return made

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        """One consistent, read-only snapshot of the ledger, for as many queries as are asked inside.

        Never makes a ledger: raises LedgerUnavailable if there is none yet. An older schema is upgraded first.
        """
        conn = await self._snapshot()
        if conn is None:
            await (await self.connect()).aclose()
            conn = await self._snapshot()
        if conn is None:
            raise LedgerUnavailable(f"the ledger at {self.address} could not be brought to this version's schema")
        try:
            with driver_told(self.address):
                yield conn
        finally:
            await conn.close()

    async def check_is_there(self) -> None:
        """Before a command that changes what is there: raises LedgerUnavailable, and makes none, if there is none."""
        async with self.reader():
            pass

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that may change the ledger (reprice, prune, erase): committed at the end, or not at all."""
        connection = await self.connect()
        try:
            with driver_told(self.address):
                async with connection.transaction() as conn:
                    yield conn
        finally:
            await connection.aclose()

    @asynccontextmanager
    async def outside_transactions(self) -> AsyncIterator[AsyncConnection]:
        """A connection for what cannot be done inside of a transaction (VACUUM): each statement stands by itself.

        The server may take its time for it.
        """
        if isinstance(self.address, SqliteAddress):
            async with self._writing.connect() as conn:
                yield conn
            return
        engine = postgres_engine(self.address, answer_seconds=None, poolclass=NullPool)
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            yield conn

    async def aclose(self) -> None:
        await self._reading.dispose()
        await self._writing.dispose()

    async def _snapshot(self) -> AsyncConnection | None:
        """None: an upgrade is due first."""
        if isinstance(self.address, SqliteAddress) and identity_of(self.address.path) is None:
            raise self._none_yet()
        with told(self.address):
            conn = await self._reading.connect()
            try:
                await _begin_snapshot(conn)
                revision = await revision_of(conn)
                if revision is None:
                    raise self._none_yet()  # noqa: TRY301 - closed below, as after any other fault
                if is_current(revision, self.address):
                    return conn
            except BaseException:
                await conn.close()
                raise
        await conn.close()
        return None

    def _none_yet(self) -> NoLedger:
        return NoLedger(
            f"no ledger at {self.address} yet: it is made with the first tracked call; "
            "if there was one, check DATABASE_URL"
        )


class StoreConnection:
    """One connection that writes. A method that raises has closed it; connect again."""

    def __init__(
        self,
        ledger: StoreLedger,
        conn: AsyncConnection,
        driver: Any,
        opened: Identity | None,
        *,
        pricing: Pricing,
        clock: Callable[[], Micros],
    ) -> None:
        self._address = ledger.address
        self._conn = conn
        self._driver = driver
        self._opened = opened
        self._pricing = pricing
        self._clock = clock
        self._statements: Statements = statements_of(conn.dialect)
        self._known_parts: set[str] = set()
        self._forgot: set[str] = set()
        self._daily: removal.Daily | None = None

    async def checkpoint(self, source: str) -> Checkpoint | None:
        return (await self.checkpoints([source])).get(source)

    async def checkpoints(self, sources: Iterable[str]) -> Mapping[str, Checkpoint]:
        return await self._asked(self._read_checkpoints(list(sources)))

    async def entries(
        self, source: str, after: int, parts: Collection[str] | None, limit: int
    ) -> list[tuple[int, Entry]]:
        return await self._asked(self._read_entries(source, after, parts, limit))

    async def is_empty(self) -> bool:
        """Whether nobody has ever written into this ledger."""
        return await self._asked(self._has_no_source())

    async def apply(self, batch: Batch) -> bool:
        return await self._asked(self._apply(batch))

    async def lacks(self, source: str, records: Sequence[Numbered]) -> int:  # noqa: ARG002 - a part has one source
        return await self._asked(self._count_lacking(records))

    async def make_durable(self, source: str) -> None:
        await self._asked(make_durable(self._conn, self._address, source))

    def forgot(self, source: str) -> bool:
        return source in self._forgot

    async def roll_up(self, seconds: float) -> bool:
        return await self._asked(roll_up(self._conn, self._clock(), seconds))

    async def retain(self, days: int) -> bool:
        return await self._asked(self._retain(days))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        async with self._conn.begin():
            if self._statements.begin_sql:
                await self._conn.exec_driver_sql(self._statements.begin_sql)
            yield self._conn

    def stale(self) -> bool:
        """Closed, or (SQLite) the path no longer leads to the file that was opened."""
        if self._conn.closed:
            return True
        if isinstance(self._address, SqliteAddress):
            return identity_of(self._address.path) != self._opened
        return bool(self._driver.is_closed())

    async def aclose(self) -> None:
        """Idempotent; never raises for a server that is gone."""
        try:
            await self._conn.close()
        except Exception:  # noqa: BLE001 - whatever the driver says of a connection that is given up anyway
            await self._conn.invalidate()

    async def _asked(self, answer: Awaitable[_T]) -> _T:
        try:
            with told(self._address):
                return await answer
        except BaseException:
            await self.aclose()
            raise

    async def _read_checkpoints(self, sources: list[str]) -> dict[str, Checkpoint]:
        found = await ingest.read_checkpoints(self._conn, sources)
        await self._conn.rollback()
        return found

    async def _count_lacking(self, records: Sequence[Numbered]) -> int:
        found = await ingest.count_lacking(self._conn, records)
        await self._conn.rollback()
        return found

    async def _read_entries(
        self, source: str, after: int, parts: Collection[str] | None, limit: int
    ) -> list[tuple[int, Entry]]:
        from livekit_tokens.store import requests, values  # noqa: PLC0415 - only where JSONL_DIR asks for it

        rows = await self._conn.execute(requests.of_source(source, after, parts, limit))
        found = [(row["seq"], values.entry_of(row)) for row in rows.mappings()]
        await self._conn.rollback()
        return found

    async def _has_no_source(self) -> bool:
        found = (await self._conn.execute(sa.select(sources.c.id).limit(1))).first()
        await self._conn.rollback()
        return found is None

    async def _retain(self, days: int) -> bool:
        now = self._clock()
        async with self.transaction() as conn:
            if self._daily is None:
                self._daily = await removal.begin_daily(conn, removal.older_than(days * DAY, now), now)
            if self._daily is None:
                return False
            more = await removal.go_on_daily(conn, self._daily, now)
        self._daily = self._daily if more else None
        return more

    async def _apply(self, batch: Batch) -> bool:
        try:
            with told(self._address):
                return await self._apply_as_it_is(batch)
        except Unstorable:
            return await self._apply_as_it_is(ingest.storable(batch))

    async def _apply_as_it_is(self, batch: Batch) -> bool:
        applied = await ingest.apply(
            self._conn,
            self._statements,
            batch,
            pricing=self._pricing,
            now=self._clock(),
            known=self._known_parts,
            forgot=self._forgot,
        )
        if not applied:  # a backup may have been put in the ledger's place: it knows fewer parts
            self._known_parts.clear()
        if len(self._known_parts) > _MOST_KNOWN:
            self._known_parts.clear()
        return applied


async def _begin_snapshot(conn: AsyncConnection) -> None:
    if conn.dialect.name == "sqlite":
        await conn.exec_driver_sql("BEGIN")
    else:
        await conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
