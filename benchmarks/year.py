"""A year of plausible traffic in a ledger of any size, filled as the drain does, and kept for who asks again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from livekit_tokens.core.ledger import Source
from livekit_tokens.demo.filling import fill
from livekit_tokens.demo.traffic import traffic
from livekit_tokens.domain.periods import DAY, Period
from livekit_tokens.domain.times import Micros
from livekit_tokens.store.writing import StoreConnection

END: Micros = 1_795_631_831_000_000
"""2026-11-25 18:37:11 UTC: in the middle of a day, of an hour, of a quarter."""
YEAR = Period(END - 365 * DAY, END)
PIECE = 250_000
"""Records that are filled in one go."""


def sqlite_url(folder: Path, records: int) -> str:
    """The ledger of so many records in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder.absolute()}/{records}.db"


async def filled(
    connection: StoreConnection, records: int, now: Callable[[], float], seconds: float | None = None
) -> dict[str, float]:
    """Fill a ledger with the year, for about so long, and roll its days up. Answers how fast that went, a day's roll-up
    by `now`. Each piece of the year is a source of its own: one that is there is not filled again.
    """
    pieces = max(1, records // PIECE)
    length = (YEAR.until - YEAR.since) // pieces
    there = await connection.checkpoints([f"size-{number}" for number in range(pieces)])
    figures: dict[str, float] = {}
    began, done = time.perf_counter(), 0
    for number in range(pieces):
        if f"size-{number}" not in there:
            begin = YEAR.since + number * length
            calls = traffic(Period(begin, begin + length), records // pieces, seed=number)
            await fill(connection, Source(f"size-{number}", "bench", 1, begin), calls)
            done += records // pieces
            figures["generated and filled"] = done / (time.perf_counter() - began)
        if seconds is not None and time.perf_counter() - began > seconds:
            return figures
    began = now()
    while await connection.roll_up(5):
        pass
    if done:
        figures["rolling up a day"] = (now() - began) * 1e3 / 365
    return figures
