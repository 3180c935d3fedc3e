"""The face of reading: the ledger's reports. Who only reads waits for nothing that writing needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from livekit_tokens.core import faults, homes
from livekit_tokens.core.clock import now
from livekit_tokens.core.reports import Reports, open_reports
from livekit_tokens.settings import Settings, read_settings
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.queries import StoredUsage

if TYPE_CHECKING:
    from livekit_tokens.prices.book import PriceBook


@asynccontextmanager
async def open_ledger(settings: Settings | None = None) -> AsyncIterator[Reports]:
    """The ledger's reports: `async with open_ledger() as ledger: await ledger.report()`.

    First brings home what killed processes of this host have left, so that it is in the answers. Asking raises
    LedgerUnavailable where there is no ledger. Raises BadSetting for settings that cannot be used.
    """
    settings = settings or read_settings()
    await _bring_home(settings)
    ledger = StoreLedger(settings.database_url)
    # Made when first asked: the prices of the records stand in the ledger.
    book = cache(lambda: _prices(settings))
    try:
        yield open_reports(
            StoredUsage(ledger), now=now, timezone=settings.timezone, pricing=lambda record: book().price(record)
        )
    finally:
        await ledger.aclose()


def _prices(settings: Settings) -> PriceBook:
    from livekit_tokens.prices.book import PriceBook  # noqa: PLC0415 - few questions need it

    return PriceBook(settings.prices_file)


async def _bring_home(settings: Settings) -> None:
    try:
        if not homes.hosts(settings.spool_dir):
            return
        from livekit_tokens.bootstrap import recover  # noqa: PLC0415 - seldom needed: all that writes

        await recover(settings)
    except Exception as error:  # noqa: BLE001 - who only wants to read must not fail for a spool
        faults.note("spools of dead processes could not be taken over", error)
