"""A process that rolls up days that are over, again and again, and is killed."""

from __future__ import annotations

import asyncio

from livekit_tokens.core.background import PAUSE_SECONDS
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.store import rolling_up
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.rolling import due_days
from tests.soak.load import now
from tests.soak.prices import price
from tests.soak.told import Teller
from tests.soak.worlds import World

ROLLING = "rolling"
_PIECE_SECONDS = 0.05


def roll_up(teller: Teller, world: World, until_done: bool) -> None:
    """A child's work. Who was killed before it is not waited for for a minute, and a day is many pieces."""
    rolling_up._STALE, rolling_up.PIECE = 500_000, 500
    asyncio.run(_roll_up(teller, world, until_done))


async def _roll_up(teller: Teller, world: World, until_done: bool) -> None:
    ledger = StoreLedger(world.url, pricing=price)
    while True:
        try:
            connection = await ledger.connect()
            while await connection.roll_up(_PIECE_SECONDS):
                teller.moment(ROLLING)
                await asyncio.sleep(PAUSE_SECONDS)
            async with ledger.reader() as conn:
                is_done = not await due_days(conn, now())
            await connection.aclose()
        except LedgerUnavailable as fault:
            teller.said(interrupted=str(fault))
            continue
        if is_done and until_done:
            return
        await asyncio.sleep(PAUSE_SECONDS)
