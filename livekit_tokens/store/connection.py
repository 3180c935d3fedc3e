"""The ledger in a database: how it is found, opened and held. Fulfils `core.ledger.Ledger`.

A `StoreLedger` belongs to one event loop. Writers have a connection of their own; readers see one consistent
snapshot each, and never write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from livekit_tokens.core.clock import now
from livekit_tokens.domain.errors import LedgerCrowded, LedgerUnavailable, NoLedger
from livekit_tokens.domain.pricing import Pricing, unpriced
from livekit_tokens.domain.times import Micros
from livekit_tokens.store.address import SqliteAddress, address_of
from livekit_tokens.store.engines import (
    LOCK_SECONDS,
    READERS,
    identity_of,
    make_private,
    postgres_engine,
    sqlite_engine,
)
from livekit_tokens.store.faults import driver_told, told
from livekit_tokens.store.revision import bring_up_to_date, is_current, revision_of

if TYPE_CHECKING:
    from livekit_tokens.store.writing import StoreConnection


PATIENT_SECONDS = 12.0
"""A reader waits so long for a connection of a server that has none left: processes that write give theirs back when
they have been idle for a little less (`core.background.KEEP_SECONDS`)."""

_AGAIN_SECONDS = 0.3


class StoreLedger:
    """The ledger at `database_url`. Raises BadSetting at once for a URL that cannot be used; opens nothing yet.

    `pricing` fixes each record's price when it is inserted.
    """

    def __init__(self, database_url: str, *, pricing: Pricing = unpriced, clock: Callable[[], Micros] = now) -> None:
        self.address = address_of(database_url)
        self._pricing = pricing
        self._clock = clock
        if isinstance(self.address, SqliteAddress):
            path = self.address.path
            self._writing = sqlite_engine(path, "rwc")
            self._reading = sqlite_engine(path, "ro")
        else:
            self._writing = postgres_engine(self.address, writes=True, poolclass=NullPool)
            self._reading = postgres_engine(
                self.address, pool_size=READERS, max_overflow=READERS * 4, pool_pre_ping=True
            )

    def prepare(self) -> None:
        """Do ahead what the first connection would do while a call is going on; opens nothing."""
        from livekit_tokens.store.statements import statements_of  # noqa: PLC0415 - who only reads needs none

        statements_of(self._writing.dialect)

    async def connect(self) -> StoreConnection:
        """A connection that writes, on a schema of this version: made or upgraded where that is due.

        Raises LedgerUnavailable or LedgerTooNew.
        """
        from livekit_tokens.store.writing import StoreConnection  # noqa: PLC0415 - a fifth of what `report` takes

        with told(self.address):
            opened = make_private(self.address.path) if isinstance(self.address, SqliteAddress) else None
            conn = await self._writing.connect()
            try:
                await bring_up_to_date(conn, self.address)
                driver = (await conn.get_raw_connection()).driver_connection
            except BaseException:
                await conn.close()
                raise
        made = StoreConnection(self.address, conn, driver, opened, pricing=self._pricing, clock=self._clock)
        if made.stale():
            await made.aclose()
            raise LedgerUnavailable(f"the ledger at {self.address} was replaced while it was opened; it is tried again")
        return made

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        """One consistent, read-only snapshot of the ledger, for as many queries as are asked inside.

        Never makes a ledger: raises LedgerUnavailable if there is none yet. An older schema is upgraded first.
        """
        conn = await self._snapshot_when_free()
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
        engine = postgres_engine(self.address, may_take_its_time=True, poolclass=NullPool)
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            yield conn

    async def aclose(self) -> None:
        await self._reading.dispose()
        await self._writing.dispose()

    async def _snapshot_when_free(self) -> AsyncConnection | None:
        until = time.monotonic() + PATIENT_SECONDS
        while True:
            try:
                return await self._snapshot()
            except LedgerCrowded:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)

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


async def _begin_snapshot(conn: AsyncConnection) -> None:
    if conn.dialect.name == "sqlite":
        await conn.exec_driver_sql("BEGIN")
    else:
        await conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # PostgreSQL compiles a statement that it thinks dear: 0.6 s for how long a month's calls were, 0.1 s without.
        asked = f"SELECT set_config('jit', 'off', true), set_config('lock_timeout', '{LOCK_SECONDS:g}s', true)"
        await conn.exec_driver_sql(asked)
