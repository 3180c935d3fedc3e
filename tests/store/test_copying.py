"""COPY in pieces, against a connection that says when it takes a piece in; the real one is in the tests of ingest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import asyncpg
import pytest

from livekit_tokens.store.copying import copy_in_pieces
from livekit_tokens.store.rows import Row

WAIT_SECONDS = 30


class Driver:
    """In place of asyncpg's connection: reads a piece, then takes it in until it is let go, one piece at a time."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.taken: list[Row] = []
        self.busy = False
        self.cancelled = False

    async def copy_records_to_table(self, table: str, *, records: Iterable[Row], columns: tuple[str, ...]) -> None:
        assert (table, columns) == ("records", ("seq",))
        assert not self.busy, "two COPYs at once on one connection"
        self.busy = True
        await asyncio.sleep(0)  # the server answers that it is ready
        rows = list(records)
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.busy = False
        self.taken += rows


ONE, TWO, THREE = [(1,), (2,)], [(3,), (4,)], [(5,)]


@pytest.mark.parametrize("pieces", [[], [ONE], [ONE, TWO, THREE]])
async def test_every_row_is_copied_once_and_in_order(pieces: list[list[Row]]) -> None:
    """Also none, or all of one piece."""
    driver = Driver()
    driver.let_go.set()
    await copy_in_pieces(driver, "records", ("seq",), pieces)
    assert driver.taken == [row for piece in pieces for row in piece]


async def test_a_piece_is_made_while_the_server_takes_in_the_one_before() -> None:
    """The server is let go only by the making of the second piece: who waited for it first would wait for ever."""
    driver = Driver()

    def pieces() -> Iterator[list[Row]]:
        yield ONE
        assert driver.busy
        driver.let_go.set()
        yield TWO

    async with asyncio.timeout(WAIT_SECONDS):
        await copy_in_pieces(driver, "records", ("seq",), pieces())
    assert driver.taken == ONE + TWO


async def test_a_piece_that_cannot_be_made_ends_the_copy_that_is_under_way() -> None:
    """The connection is closed next: nothing may be running on it."""
    driver = Driver()

    def pieces() -> Iterator[list[Row]]:
        yield ONE
        raise ValueError("no such row")

    with pytest.raises(ValueError, match="no such row"):
        await copy_in_pieces(driver, "records", ("seq",), pieces())
    assert driver.cancelled


async def test_who_is_cancelled_before_the_server_is_ready_leaves_no_copy_under_way() -> None:
    """As while another connection has the table locked: nothing of the piece has been read yet."""

    class Locked(Driver):
        def __init__(self) -> None:
            super().__init__()
            self.asked = asyncio.Event()

        async def copy_records_to_table(self, table: str, *, records: Iterable[Row], columns: tuple[str, ...]) -> None:
            self.asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)  # the server is told
                self.cancelled = True
                raise

    driver = Locked()
    copying = asyncio.create_task(copy_in_pieces(driver, "records", ("seq",), [ONE, TWO]))
    await driver.asked.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert driver.cancelled


async def test_nothing_is_under_way_on_a_connection_whose_copy_waited_for_a_lock(postgres_url: str) -> None:
    """The transaction can be rolled back then, and the connection goes on."""
    driver, other = await asyncpg.connect(postgres_url), await asyncpg.connect(postgres_url)

    async def copy() -> None:
        async with driver.transaction():
            await copy_in_pieces(driver, "waited", ("seq",), [ONE, TWO])

    try:
        await driver.execute("CREATE TABLE waited (seq int)")
        async with other.transaction():
            await other.execute("LOCK TABLE waited")
            copying = asyncio.create_task(copy())
            await is_waiting(other, driver.get_server_pid())
            copying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await copying
        assert not driver.is_in_transaction()
        assert await driver.fetchval("SELECT count(*) FROM waited") == 0
    finally:
        driver.terminate()
        other.terminate()


async def is_waiting(asked: asyncpg.Connection, pid: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await asked.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid):
            await asyncio.sleep(0.01)


async def test_what_the_server_refuses_is_raised() -> None:
    """Before it has read a row, and while the next piece is made."""

    class Refusing(Driver):
        async def copy_records_to_table(self, table: str, *, records: Iterable[Row], columns: tuple[str, ...]) -> None:
            raise ConnectionError("the server is gone")

    with pytest.raises(ConnectionError, match="the server is gone"):
        await copy_in_pieces(Refusing(), "records", ("seq",), [ONE, TWO, THREE])
