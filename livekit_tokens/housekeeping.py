"""Keeping house, wired: what the commands db, prune, erase, backup, restore and import do, for these settings."""

from __future__ import annotations

import errno
import getpass
import os
import secrets
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from livekit_tokens.bootstrap import recover
from livekit_tokens.core import homes
from livekit_tokens.core.clock import now
from livekit_tokens.domain.errors import BadSetting, LedgerUnavailable
from livekit_tokens.domain.times import Micros
from livekit_tokens.runtime import daily_logs, new_key, price_book
from livekit_tokens.settings import Settings

if TYPE_CHECKING:
    from livekit_tokens.core.findings import Finding
    from livekit_tokens.core.foreign_files import Numbered
    from livekit_tokens.core.forgetting import SpoolsSwept
    from livekit_tokens.core.importing import Imported
    from livekit_tokens.core.repricing import Asked, OnProgress, Repricing
    from livekit_tokens.domain.erasure import Person
    from livekit_tokens.store.connection import StoreLedger
    from livekit_tokens.store.keeping.checking import OnDay
    from livekit_tokens.store.keeping.copies import OnRows
    from livekit_tokens.store.keeping.erasing import Erased
    from livekit_tokens.store.keeping.files import Copied
    from livekit_tokens.store.keeping.pruning import Pruned
    from livekit_tokens.store.keeping.tending import Vacuumed


@asynccontextmanager
async def _ledger(settings: Settings) -> AsyncIterator[StoreLedger]:
    from livekit_tokens.store.connection import StoreLedger  # noqa: PLC0415 - a process that records needs none of it

    ledger = StoreLedger(settings.database_url, pricing=price_book(settings).price)
    try:
        yield ledger
    finally:
        await ledger.aclose()


async def _check_needs_no_upgrade(ledger: StoreLedger) -> None:
    """Before a dry run: readers upgrade an older schema, and a dry run changes nothing."""
    from livekit_tokens.store.condition import revision_at  # noqa: PLC0415
    from livekit_tokens.store.revision import is_current  # noqa: PLC0415

    revision = await revision_at(ledger.address)
    if revision is not None and not is_current(revision, ledger.address):
        raise LedgerUnavailable(
            f"the ledger at {ledger.address} has the older schema {revision}, and a dry run changes nothing; run "
            "`livekit-tokens db upgrade` first"
        )


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
    """Put a backup in the ledger's place; whom the ledger had forgotten stays forgotten.

    Raises LedgerUnavailable or LedgerTooNew; then everything is as it was.
    """
    from livekit_tokens.store.keeping import copies  # noqa: PLC0415

    async with _ledger(settings) as ledger:
        return await copies.restore(ledger, file, now() - settings.stale_after, on_rows, replace=replace)


async def prune(
    settings: Settings, age: Micros, *, tenant: str | None, sums: bool, dry_run: bool, on_rows: OnRows
) -> Pruned:
    """Remove records that are older; sums stay unless asked. Raises LedgerUnavailable or LedgerTooNew."""
    from livekit_tokens.store.keeping import pruning, removal  # noqa: PLC0415

    asked = removal.Pruning(removal.older_than(age, now()), tenant, sums)
    async with _ledger(settings) as ledger:
        if dry_run:
            await _check_needs_no_upgrade(ledger)
            return await pruning.would_prune(ledger, asked)
        return await pruning.prune(ledger, asked, now, on_rows)


_NAMED = 5
"""Identities that a message names at most."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Where a person was found: in the ledger, in this host's spools, in lines of its daily log files."""

    ledger: Erased
    spools: SpoolsSwept
    log_files: int
    log_lines: int

    def to_dict(self) -> dict[str, object]:
        logs = {"files_looked_at": self.log_files, "lines": self.log_lines}
        return {"ledger": self.ledger.to_dict(), "spools": self.spools.to_dict(), "daily_logs": logs}


async def erase(settings: Settings, user: str, *, all_rooms: bool, dry_run: bool) -> Forgotten:
    """Forget a person, by the identity as it was given to LiveKit or as it is stored: ledger, spools and daily logs.

    A display name is enough for whom no identity is known. Raises BadSetting for one that is of identities, and
    LedgerUnavailable or LedgerTooNew; then the ledger is as it was. Also where JSONL_DIR cannot be written.
    """
    from livekit_tokens.core import forgetting  # noqa: PLC0415
    from livekit_tokens.store.keeping import erasing, tending  # noqa: PLC0415

    if not dry_run:
        await recover(settings)  # what dead processes have left is erased with the rest
    stored = frozenset(filter(None, (user, settings.identities.identity(user))))
    async with _ledger(settings) as ledger:
        if dry_run:
            await _check_needs_no_upgrade(ledger)
        if named := await erasing.only_named(ledger, stored):
            raise BadSetting(
                f"--user {user!r} is nobody's identity, but the display name of {', '.join(map(repr, named[:_NAMED]))}"
                f"{' and others' * (len(named) > _NAMED)}; nothing is erased: erase each by its identity"
            )
        erased, person = await erasing.erase(ledger, stored, now(), all_rooms=all_rooms, dry_run=dry_run)
        roots = list(homes.within_reach(settings.spool_dir, homes.host(settings.spool_host)))
        swept = await _forget_in_spools(ledger, roots, person, dry_run=dry_run)
        if swept.held and not dry_run:
            await forgetting.when_let_go(roots)
            again = await _forget_in_spools(ledger, roots, person, dry_run=False)
            swept.removed, swept.held = swept.removed + swept.held - again.held, again.held
        files, lines = await _forget_in_logs(settings, stored, dry_run=dry_run)
        if not dry_run:
            await tending.vacuum(ledger)  # what was written over stands in the file's free places until then
    return Forgotten(erased, swept, files, lines)


async def _forget_in_spools(
    ledger: StoreLedger, roots: Sequence[Path], person: Person, *, dry_run: bool
) -> SpoolsSwept:
    from livekit_tokens.core import forgetting  # noqa: PLC0415
    from livekit_tokens.store import ingest  # noqa: PLC0415

    async with ledger.reader() as conn:
        known = await ingest.read_checkpoints(conn, [folder.name for root in roots for folder in root.iterdir()])
    return forgetting.sweep(roots, known, person, dry_run=dry_run)


async def _forget_in_logs(settings: Settings, identities: frozenset[str], *, dry_run: bool) -> tuple[int, int]:
    if (logs := daily_logs(settings)) is None:
        return 0, 0
    try:
        return await logs.forget(identities, dry_run=dry_run)
    except OSError as fault:
        raise LedgerUnavailable(
            f"the ledger has forgotten them, but the daily logs in {settings.jsonl_dir} cannot be rewritten "
            f"({fault.strerror}); mend that and erase again"
        ) from fault


async def bring(
    settings: Settings, files: Sequence[Path], done: Imported, *, dry_run: bool, on_rows: OnRows
) -> Imported:
    """Import files of other trackers, counted in `done`. Raises LedgerUnavailable, also for a file that cannot be
    read; what was brought by then is there, and counts once when it is tried again.
    """
    from livekit_tokens.core import importing  # noqa: PLC0415
    from livekit_tokens.core.ledger import Source  # noqa: PLC0415
    from livekit_tokens.domain.foreign import Terms  # noqa: PLC0415
    from livekit_tokens.prices import published  # noqa: PLC0415
    from livekit_tokens.store.keeping.imported import StoredImport  # noqa: PLC0415

    for file in files:  # before a ledger is made for them
        if not file.exists():
            raise LedgerUnavailable(f"{file} cannot be read ({os.strerror(errno.ENOENT)}); nothing is imported")
    source = Source(f"import-{secrets.token_hex(16)}", homes.host(settings.spool_host), os.getpid(), now())
    terms = Terms(settings.identities, sold_as=partial(published.sold_as, at=source.started_at))
    named = ((str(file), _rows_of(file)) for file in files)
    async with _ledger(settings) as ledger:
        if dry_run:
            await _check_needs_no_upgrade(ledger)
        connection = None if dry_run else await ledger.connect()
        try:
            stored = StoredImport(ledger, connection)
            return await importing.bring(named, stored, source, on_rows, terms=terms, dry_run=dry_run, done=done)
        finally:
            if connection is not None:
                await connection.aclose()


def _rows_of(file: Path) -> Iterator[Numbered]:
    from livekit_tokens.core import foreign_files  # noqa: PLC0415
    from livekit_tokens.store.keeping.imported import tables_of  # noqa: PLC0415

    try:
        rows: Iterable[Numbered] = tables_of(file) if foreign_files.is_sqlite(file) else foreign_files.rows_of(file)
        yield from rows
    except (OSError, EOFError, zlib.error) as fault:
        reason = getattr(fault, "strerror", None) or "it is damaged"
        raise LedgerUnavailable(f"{file} cannot be read ({reason}); what came before it is imported") from fault


async def reprice(settings: Settings, asked: Asked, *, dry_run: bool, on_progress: OnProgress) -> Repricing:
    """Price the records of a period anew, by the prices as they are known now; on a dry run, say what would change.

    Raises BadSetting for a PRICES_FILE that cannot be used, LedgerUnavailable or LedgerTooNew; then nothing changed.
    """
    from livekit_tokens.core import repricing  # noqa: PLC0415 - only this command needs them
    from livekit_tokens.prices import prices_file  # noqa: PLC0415
    from livekit_tokens.prices.book import PriceBook  # noqa: PLC0415
    from livekit_tokens.prices.contracts import NONE  # noqa: PLC0415
    from livekit_tokens.store.connection import StoreLedger  # noqa: PLC0415
    from livekit_tokens.store.repricing import Audit, priced_ledger  # noqa: PLC0415

    # Read once: a call goes on where the file is wrong or changes, but a repricing must not mix two lists of prices.
    contracts = NONE if settings.prices_file is None else prices_file.read(settings.prices_file)
    pricing = PriceBook(contracts=contracts).price
    ledger = StoreLedger(settings.database_url)
    audit = Audit(new_key(), now(), f"{_user()}@{homes.host()}")
    try:
        if dry_run:
            await _check_needs_no_upgrade(ledger)
        async with priced_ledger(ledger, asked, audit, dry_run=dry_run) as priced:
            return await repricing.reprice(priced, asked, pricing, dry_run=dry_run, on_progress=on_progress)
    finally:
        await ledger.aclose()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid-{os.getuid()}"
