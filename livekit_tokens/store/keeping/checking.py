"""Whether a ledger is whole: its file, its schema, its sums beside their records, and what belongs to nothing."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.findings import Finding
from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.times import QUARTER, Micros, rfc3339
from livekit_tokens.store.address import SqliteAddress
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.grouping import amounts_of_records
from livekit_tokens.store.keeping.pruned import not_pruned
from livekit_tokens.store.migrations import HEAD
from livekit_tokens.store.rolling import days_of
from livekit_tokens.store.schema import ADDED, idempotency, parts, prunings, records, sources, stays, sums
from livekit_tokens.store.sums import KEY

OnDay = Callable[[int, int], None]
"""Is told how many days of sums are compared, and of how many."""

_LABELS = [name for name in KEY if name not in ("part", "bucket")]
_RESTORE = "restore a backup; the spools of the last hour bring the rest by themselves"
_RECOUNT = "report it as a fault of livekit-tokens, with this line; restore a backup if the sums must be right today"


async def check(ledger: StoreLedger, on_day: OnDay) -> AsyncIterator[Finding]:
    """Look at everything, and change nothing; of one snapshot. Raises LedgerUnavailable or LedgerTooNew."""
    async with ledger.reader() as conn:
        yield Finding("ok", "schema", f"revision {HEAD}, this version's")
        if isinstance(ledger.address, SqliteAddress):
            yield look_at_rights(ledger.address.path)
            yield await _look_at_file(conn)
        yield await _look_at_sums(conn, on_day)
        yield await _look_at_owners(conn)
        yield await _look_at_losses(conn)
        async for finding in _look_at_prunings(conn):
            yield finding


def look_at_rights(path: Path) -> Finding:
    """Who may read the ledger's files."""
    found = [path.with_name(path.name + tail) for tail in ("", "-wal", "-shm")]
    open_ones = [str(file) for file in found if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077]
    if open_ones:
        told = f"others than their owner may read {', '.join(open_ones)}"
        return Finding("fault", "rights", told, f"chmod 600 {' '.join(open_ones)}")
    return Finding("ok", "rights", "the ledger's files are their owner's alone")


async def _look_at_file(conn: AsyncConnection) -> Finding:
    said = (await conn.exec_driver_sql("PRAGMA integrity_check(3)")).scalars().all()
    if said == ["ok"]:
        return Finding("ok", "integrity", "every page and index of the file is as it must be")
    return Finding("fault", "integrity", "; ".join(str(line).splitlines()[0] for line in said), _RESTORE)


async def _look_at_sums(conn: AsyncConnection, on_day: OnDay) -> Finding:
    """Day by day: one question must not take longer than a server may."""
    found: set[Micros] = set()
    for table, at in ((sums, sums.c.bucket), (records, records.c.at)):
        found.update((await conn.execute(days_of(at, *await not_pruned(conn, table)))).scalars())
    days = sorted(found)
    wrong, example = 0, None
    for number, day in enumerate(days, 1):
        different = (await conn.execute(await _differences(conn, day))).all()
        wrong, example = wrong + len(different), example or next(iter(different), None)
        on_day(number, len(days))
    if example is None:
        told = f"equal to their records in all {len(days):,} days that have them" if days else "there are none"
        return Finding("ok", "sums", told)
    where = f"{example.part.hex()}, {rfc3339(example.bucket)}, {example.service} {example.model}"
    return Finding("fault", "sums", f"{wrong:,} differ from their records, the first: {where}", _RECOUNT)


async def _differences(conn: AsyncConnection, day: Micros) -> sa.Select[Any]:
    """The sums of a day that are not what their records add up to."""
    labels = [sums.c[name] for name in _LABELS]
    told = sa.select(sums.c.part, sums.c.bucket, *labels, *(sums.c[name] for name in ADDED))
    told = told.where(sums.c.bucket >= day, sums.c.bucket < day + DAY, *await not_pruned(conn, sums))
    at = records.c.at
    less = [(-amount.element).label(amount.name) for amount in amounts_of_records()]
    counted = sa.select(
        records.c.part, (at - at % QUARTER).label("bucket"), *(records.c[name] for name in _LABELS), *less
    )
    counted = counted.where(at >= day, at < day + DAY, *await not_pruned(conn, records))
    both = sa.union_all(told, counted).subquery()
    keys = [both.c[name] for name in KEY]
    unequal = sa.or_(*(sa.func.sum(both.c[name]) != 0 for name in ADDED))
    return sa.select(*keys).group_by(*keys).having(unequal).order_by(*keys)


async def _look_at_owners(conn: AsyncConnection) -> Finding:
    """Records without their part are in no report; parts without their source could be told twice."""
    orphans: dict[str, int] = {}
    for table in (records, sums, stays, idempotency):
        lost = sa.select(sa.func.count()).select_from(table).where(table.c.part.not_in(sa.select(parts.c.key)))
        orphans[f"{table.name} without their part"] = (await conn.execute(lost)).scalar_one()
    lost = sa.select(sa.func.count()).select_from(parts).where(parts.c.source.not_in(sa.select(sources.c.id)))
    orphans["parts without their source"] = (await conn.execute(lost)).scalar_one()
    found = ", ".join(f"{count:,} {name}" for name, count in orphans.items() if count)
    return Finding("fault", "owners", found, _RESTORE) if found else Finding("ok", "owners", "everything has its part")


async def _look_at_losses(conn: AsyncConnection) -> Finding:
    lost = (await conn.execute(sa.select(sa.func.coalesce(sa.func.sum(sources.c.lost), 0)))).scalar_one()
    if not lost:
        return Finding("ok", "gaps", "no spool had lost a record before it came here")
    told = f"{int(lost):,} records were lost before they came here (damaged disks, spools that were removed)"
    return Finding("note", "gaps", told, "compare with the provider's bill")


async def _look_at_prunings(conn: AsyncConnection) -> AsyncIterator[Finding]:
    ended = sa.select(prunings.c.until, prunings.c.tenant).where(prunings.c.ended_at.is_(None))
    for until, tenant in await conn.execute(ended):
        whose = "" if tenant is None else f" of tenant {tenant}"
        told = f"the records{whose} before {rfc3339(until)} are not all removed: it was interrupted"
        yield Finding("note", "pruning", told, "run prune again; reports are right meanwhile")
