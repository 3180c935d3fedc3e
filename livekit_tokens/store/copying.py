"""COPY into PostgreSQL, a piece at a time: the server takes one in while the next one is made.

asyncpg sends half a megabyte at once, which is most of a batch: until all of it was made, the server had nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from livekit_tokens.store.rows import Columns, Row

PIECE = 625
"""Rows: 3 ms of this process and as many of the server's (benchmarks/ingest.py)."""


async def copy_in_pieces(driver: Any, table: str, columns: Columns, pieces: Iterable[Sequence[Row]]) -> None:
    """COPY the rows over asyncpg's connection, in the transaction that is open. Raises what asyncpg raises, and what
    making a piece does; nothing is under way any more then.
    """
    under_way = None
    try:
        for piece in pieces:
            if under_way is not None:
                await under_way
            under_way = await _sent(driver, table, columns, piece)
        if under_way is not None:
            await under_way
    except BaseException:
        if under_way is not None:
            await _stop(under_way)
        raise


async def _sent(driver: Any, table: str, columns: Columns, piece: Sequence[Row]) -> asyncio.Task[object]:
    """A COPY whose rows are on their way to the server, or that has failed."""
    read = asyncio.get_running_loop().create_future()

    def reading() -> Iterator[Row]:
        yield from piece
        read.set_result(None)  # asyncpg sends what it has read before it waits for anything

    copying = asyncio.create_task(driver.copy_records_to_table(table, records=reading(), columns=columns))
    try:
        await asyncio.wait([copying, read], return_when=asyncio.FIRST_COMPLETED)
    except BaseException:  # the server may be ready late: while it waits for another's lock
        await _stop(copying)
        raise
    return copying


async def _stop(copying: asyncio.Task[object]) -> None:
    """Nothing of it is under way any more; what it ended by is of no account."""
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)
