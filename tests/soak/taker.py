"""A process that takes over what dead ones have left, and may be killed at it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from livekit_tokens.core import spool
from livekit_tokens.core.drain import SpoolDrain
from livekit_tokens.core.remains import read_remains
from livekit_tokens.core.takeover import Recovered, take_over
from livekit_tokens.domain.errors import LiveKitTokensError
from livekit_tokens.store.connection import StoreLedger
from tests.soak.dying_ledger import Death, DyingLedger
from tests.soak.phases import Phases
from tests.soak.prices import price
from tests.soak.told import Teller
from tests.soak.worlds import World


@dataclass(frozen=True)
class Taking:
    world: World
    death: Death | None = None
    times: int = 1
    phases: Path | None = None


def take(teller: Teller, taking: Taking) -> None:
    """A child's work: take over, so many times, and tell what was found; an unavailable ledger is told, too."""
    asyncio.run(_take(teller, taking))


async def _take(teller: Teller, taking: Taking) -> None:
    if not taking.world.root.exists():  # whoever was killed had not come so far
        teller.said(recovered=Recovered().to_dict())
        return
    ledger = DyingLedger(StoreLedger(taking.world.url, pricing=price), taking.death)
    for _ in range(taking.times):
        try:
            await (await ledger.connect()).aclose()
            with Phases(taking.phases).during("taking over") if taking.phases else nullcontext():
                teller.moment("taking")
                found = await take_over([taking.world.root], ledger)
        except LiveKitTokensError as error:
            teller.said(unavailable=str(error))
        else:
            teller.said(recovered=found.to_dict())


def drain_without_locks(teller: Teller, world: World) -> None:
    """A child's work: drain every spool as if there were no locks; only the ledger's checkpoint stands between.

    Who always comes second gives up, and says so.
    """
    try:
        asyncio.run(_drain_without_locks(teller, world))
    except LiveKitTokensError as error:
        teller.said(unavailable=str(error))


async def _drain_without_locks(teller: Teller, world: World) -> None:
    connection = await StoreLedger(world.url, pricing=price).connect()
    teller.moment("taking")
    records = 0
    for folder in spool.sources_of(world.root):
        source = (await read_remains(folder)).source
        if source is not None:
            records += (await SpoolDrain(folder, source, connection).drain()).records
    await connection.aclose()
    teller.said(drained=records)
