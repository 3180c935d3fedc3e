"""A connection that writes into the ledger. Fulfils `core.ledger.LedgerConnection`.

Beside `connection`, because who only reads, as a command does, should not wait for what writing takes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.ledger import Batch, Checkpoint
from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.pricing import Pricing
from livekit_tokens.domain.times import Micros
from livekit_tokens.store import ingest
from livekit_tokens.store.address import Address, SqliteAddress
from livekit_tokens.store.durable import make_durable
from livekit_tokens.store.engines import Identity, identity_of
from livekit_tokens.store.faults import Unstorable, driver_told, told
from livekit_tokens.store.keeping import removal
from livekit_tokens.store.rolling_up import RollUp
from livekit_tokens.store.rows import Numbered
from livekit_tokens.store.schema import sources
from livekit_tokens.store.statements import Statements, statements_of
from livekit_tokens.store.storable import storable

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Entry

_T = TypeVar("_T")
_MOST_KNOWN = 4096
"""Parts that are in the ledger for certain; beyond so many all are forgotten, and looked up again."""


class StoreConnection:
    """One connection that writes. A method that raises has closed it; connect again."""

    def __init__(
        self,
        address: Address,
        conn: AsyncConnection,
        driver: Any,
        opened: Identity | None,
        *,
        pricing: Pricing,
        clock: Callable[[], Micros],
    ) -> None:
        self._address = address
        self._conn = conn
        self._driver = driver
        self._opened = opened
        self._pricing = pricing
        self._clock = clock
        self._statements: Statements = statements_of(conn.dialect)
        self._known_parts: set[str] = set()
        self._forgot: set[str] = set()
        self._daily: removal.Daily | None = None
        self._roll_up = RollUp()

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
        return await self._asked(self._roll_up.go_on(self._conn, self._clock, seconds))

    async def retain(self, days: int) -> bool:
        return await self._asked(self._retain(days))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        with driver_told(self._address):
            async with self._conn.begin():
                if self._statements.begin_sql:
                    await self._conn.exec_driver_sql(self._statements.begin_sql)
                yield self._conn

    @property
    def is_scarce(self) -> bool:
        return not isinstance(self._address, SqliteAddress)

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
        async with self.transaction() as conn:
            now = await removal.time_of(conn, self._clock())
            if self._daily is None:
                self._daily = await removal.begin_daily(conn, days * DAY, now)
            if self._daily is None:
                return False
            more = await removal.go_on_daily(conn, self._daily, now)
        self._daily = self._daily if more else None
        return more

    async def _apply(self, batch: Batch) -> bool:
        with suppress(Unstorable), told(self._address):
            return await self._apply_as_it_is(batch)
        batch = storable(batch)
        with suppress(Unstorable), told(self._address):
            return await self._apply_as_it_is(batch)
        fitting = await ingest.with_figures_that_fit(self._conn, self._statements, batch, self._pricing)
        return await self._apply_as_it_is(fitting)

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
