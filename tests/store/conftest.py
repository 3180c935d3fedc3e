from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.writing import StoreConnection


@pytest_asyncio.fixture
async def ledger(database_url: str) -> AsyncIterator[StoreLedger]:
    """A ledger that nobody has opened yet, on each database in turn."""
    made = StoreLedger(database_url)
    yield made
    await made.aclose()


@pytest_asyncio.fixture
async def connection(ledger: StoreLedger) -> AsyncIterator[StoreConnection]:
    opened = await ledger.connect()
    yield opened
    await opened.aclose()
