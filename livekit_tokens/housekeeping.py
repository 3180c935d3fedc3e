"""Keeping house, wired: what the commands db, prune, erase, backup, restore and import do, for these settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from livekit_tokens.bootstrap import now, recover
from livekit_tokens.core import homes
from livekit_tokens.domain.times import Micros
from livekit_tokens.settings import Settings

if TYPE_CHECKING:
    from livekit_tokens.core.findings import Finding
    from livekit_tokens.core.forgetting import SpoolsSwept
    from livekit_tokens.store.connection import StoreLedger
    from livekit_tokens.store.keeping.checking import OnDay
    from livekit_tokens.store.keeping.copies import Copied, OnRows
    from livekit_tokens.store.keeping.erasing import Erased
    from livekit_tokens.store.keeping.pruning import Pruned
    from livekit_tokens.store.keeping.tending import Vacuumed


@asynccontextmanager
async def _ledger(settings: Settings) -> AsyncIterator[StoreLedger]:
    from livekit_tokens.store.connection import StoreLedger  # noqa: PLC0415 - a process that records needs none of it

    ledger = StoreLedger(settings.database_url)
    try:
        yield ledger
    finally:
        await ledger.aclose()


async def check(settings: Settings, on_day: OnDay) -> AsyncIterator[Finding]:
    """Whether the ledger is whole. Raises LedgerUnavailable or LedgerTooNew."""
    from livekit_tokens.store.keeping import checking  # noqa: PLC0415

    async with _ledger(settings) as ledger:
        async for finding in checking.check(ledger, on_day):
            yield finding


async def upgrade(settings: Settings) -> tuple[str | None, str]:
    """Bring the schema to this version's, or make it; answers the revision before (None: no ledger) and now."""
    from livekit_tokens.store.condition import revision_at  # noqa: PLC0415
    from livekit_tokens.store.migrations import HEAD  # noqa: PLC0415

    async with _ledger(settings) as ledger:
        before = await revision_at(ledger.address)
        await (await ledger.connect()).aclose()
        return before, HEAD


async def vacuum(settings: Settings) -> Vacuumed:
    """Give back the space of what was removed. Raises LedgerUnavailable or LedgerTooNew."""
    from livekit_tokens.store.keeping import tending  # noqa: PLC0415

    async with _ledger(settings) as ledger:
        return await tending.vacuum(ledger)


async def backup(settings: Settings, file: Path, *, keep: int, on_rows: OnRows) -> Copied:
    """Copy the ledger into one SQLite file, looked at; `keep` of the older ones stay. Raises LedgerUnavailable."""
    from livekit_tokens.store.keeping import copies  # noqa: PLC0415

    async with _ledger(settings) as ledger:
        return await copies.backup(ledger, file, keep, on_rows)


async def restore(settings: Settings, file: Path, *, replace: bool, on_rows: OnRows) -> Copied:
    """Put a backup in the ledger's place. Raises LedgerUnavailable or LedgerTooNew; then everything is as it was."""
    from livekit_tokens.store.keeping import copies  # noqa: PLC0415

    async with _ledger(settings) as ledger:
        return await copies.restore(ledger, file, now(), on_rows, replace=replace)


async def prune(
    settings: Settings, age: Micros, *, tenant: str | None, sums: bool, dry_run: bool, on_rows: OnRows
) -> Pruned:
    """Remove records that are older; sums stay unless asked. Raises LedgerUnavailable or LedgerTooNew."""
    from livekit_tokens.store.keeping import pruning, removal  # noqa: PLC0415

    asked = removal.Pruning(removal.older_than(age, now()), tenant, sums)
    async with _ledger(settings) as ledger:
        if dry_run:
            return await pruning.would_prune(ledger, asked)
        return await pruning.prune(ledger, asked, now, on_rows)


async def erase(settings: Settings, user: str, *, all_rooms: bool, dry_run: bool) -> tuple[Erased, SpoolsSwept]:
    """Forget a person, by the identity as it was given to LiveKit or as it is stored: ledger and this host's spools.

    Raises LedgerUnavailable or LedgerTooNew; then the ledger is as it was.
    """
    from livekit_tokens.core import forgetting  # noqa: PLC0415
    from livekit_tokens.store.keeping import erasing, tending  # noqa: PLC0415

    if not dry_run:
        await recover(settings)  # what dead processes have left is erased with the rest
    stored = frozenset(filter(None, (user, settings.identities.identity(user))))
    async with _ledger(settings) as ledger:
        erased, person = await erasing.erase(ledger, stored, now(), all_rooms=all_rooms, dry_run=dry_run)
        roots = list(homes.roots(settings.spool_dir, homes.host()))
        connection = await ledger.connect()
        try:
            names = [folder.name for root in roots for folder in root.iterdir()]
            known = await connection.checkpoints(names)
        finally:
            await connection.aclose()
        swept = forgetting.sweep(roots, known, person, dry_run=dry_run)
        if not dry_run:
            await tending.vacuum(ledger)  # what was written over stands in the file's free places until then
    return erased, swept
