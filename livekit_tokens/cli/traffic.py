"""`livekit-tokens demo --records N`: a ledger with something in it, of any size."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from livekit_tokens.cli.ledger import usable_settings
from livekit_tokens.cli.outcome import Failed, awaited
from livekit_tokens.core.clock import now
from livekit_tokens.core.ledger import Source
from livekit_tokens.demo.filling import Filled, fill
from livekit_tokens.demo.traffic import traffic
from livekit_tokens.domain.periods import DAY, HOUR, Period, read_moment, read_zone
from livekit_tokens.domain.times import Micros, rfc3339
from livekit_tokens.runtime import price_book
from livekit_tokens.settings import Settings
from livekit_tokens.store.connection import StoreLedger

_YEAR: Micros = 365 * DAY
_SAY_SECONDS = 1.0


def fill_ledger(records: int, seed: int, until: str | None, *, add: bool) -> None:
    """Write the traffic of the year before `until` into the settings' ledger. Raises BadSetting or Failed."""
    settings = usable_settings()
    end = now() // HOUR * HOUR if until is None else read_moment(until, read_zone(settings.timezone))
    began = time.monotonic()
    filled = awaited(_fill(settings, records, seed, end, add=add))
    took = time.monotonic() - began
    where = StoreLedger(settings.database_url).address
    print(
        f"{filled.records:,} records of {filled.calls:,} calls are in {where} ({filled.records / took:,.0f} records/s)"
    )
    print(f"seed {seed}, the year before {rfc3339(end)}; see livekit-tokens report --days 365")


async def _fill(settings: Settings, records: int, seed: int, end: Micros, *, add: bool) -> Filled:
    ledger = StoreLedger(settings.database_url, pricing=price_book(settings).price)
    connection = await ledger.connect()
    try:
        if not add and not await connection.is_empty():
            raise Failed(
                f"the ledger {ledger.address} has data; demo traffic would mix with it: "
                "name an empty LIVEKIT_TOKENS_DATABASE_URL, or say --add"
            )
        source = Source(f"demo-{seed}-{records}-{end}", "demo", 0, end - _YEAR)
        filled = await fill(connection, source, traffic(Period(end - _YEAR, end), records, seed), _progress(records))
        while await connection.roll_up(_SAY_SECONDS):
            pass
        return filled
    finally:
        await connection.aclose()
        await ledger.aclose()


def _progress(records: int) -> Callable[[Filled], None]:
    """A line on stderr about every second, overwritten where it is a terminal."""
    tty = sys.stderr.isatty()
    said_at = time.monotonic()

    def say(filled: Filled) -> None:
        nonlocal said_at
        done = filled.records >= records
        if not done and time.monotonic() - said_at < _SAY_SECONDS * (1 if tty else 10):
            return
        said_at = time.monotonic()
        line = f"{filled.records:,} of {records:,} records"
        if tty:
            print(f"\r\033[K{line}", end="\n" if done else "", file=sys.stderr, flush=True)
        elif not done:
            print(line, file=sys.stderr, flush=True)

    return say
