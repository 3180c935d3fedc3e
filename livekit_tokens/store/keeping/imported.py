"""What an import asks of the ledger, and the tables of other trackers in SQLite files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.foreign_files import Numbered
from livekit_tokens.core.ledger import Batch
from livekit_tokens.domain.erasure import Forgotten
from livekit_tokens.domain.errors import LedgerUnavailable, NoLedger
from livekit_tokens.domain.foreign import Foreign
from livekit_tokens.domain.growth import Known, growth_key
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.units import Units
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping.forgotten import forgotten_here, recall
from livekit_tokens.store.keeping.pruned import pruned_until
from livekit_tokens.store.once import digests
from livekit_tokens.store.schema import idempotency, parts, records
from livekit_tokens.store.values import part_of
from livekit_tokens.store.writing import StoreConnection

_TABLES = ("token_usage", "api_usage")


class StoredImport:
    """Fulfils `core.importing.ImportLedger`. Without a `connection` it only looks (a dry run), also where there is no
    ledger yet.
    """

    def __init__(self, ledger: StoreLedger, connection: StoreConnection | None) -> None:
        self._ledger = ledger
        self._connection = connection

    async def known(self, found: Sequence[Foreign]) -> dict[int, Known]:
        try:
            async with self._ledger.reader() as conn:
                forgotten = await _forgotten(conn, found)
                of_rows = {place: one.record.idempotency_key or "" for place, one in enumerate(found)}
                known = dict.fromkeys(await _exported(conn, found), Known())
                known |= {
                    place: Known(*counts) for place, counts in (await _counts(conn, found, of_rows, forgotten)).items()
                }
                growing, number = [place for place in known if found[place].grows], 1
                while growing:
                    of_growths = {place: growth_key(found[place], number) for place in growing}
                    more = await _counts(conn, found, of_growths, forgotten)
                    known |= {place: known[place].with_growth(*counts) for place, counts in more.items()}
                    growing, number = list(more), number + 1
        except NoLedger:
            return {}
        return {place: there if found[place].identified else Known() for place, there in known.items()}

    async def erased(self, found: Sequence[Foreign]) -> set[int]:
        try:
            async with self._ledger.reader() as conn:
                forgotten = await _forgotten(conn, found)
        except NoLedger:
            return set()
        return set() if forgotten is None else {n for n, one in enumerate(found) if forgotten.is_imported(one.part)}

    async def parts(self, keys: Iterable[str]) -> list[Part]:
        async with self._ledger.reader() as conn:
            rows = await conn.execute(sa.select(parts).where(parts.c.key.in_([bytes.fromhex(key) for key in keys])))
            return [part_of(row) for row in rows]

    async def apply(self, batch: Batch) -> bool:
        assert self._connection is not None
        return await self._connection.apply(batch)


async def _forgotten(conn: AsyncConnection, found: Sequence[Foreign]) -> Forgotten | None:
    if (forgotten := await forgotten_here(conn)) is not None:
        await recall(conn, forgotten, forgotten.asked_by_imports(one.part for one in found))
    return forgotten


async def _exported(conn: AsyncConnection, found: Sequence[Foreign]) -> list[int]:
    """The places of rows that this ledger has exported itself; of what is pruned since, the part tells."""
    ids = {place: (bytes.fromhex(one.exported[0]), one.exported[1]) for place, one in enumerate(found) if one.exported}
    if not ids:
        return []
    told = sa.select(records.c.part, records.c.seq).where(sa.tuple_(records.c.part, records.c.seq).in_(ids.values()))
    kept = {(row.part, row.seq) for row in await conn.execute(told)}
    ours = sa.select(parts.c.key).where(parts.c.key.in_({part for part, _ in ids.values()}))
    there, pruned = set((await conn.execute(ours)).scalars()), await pruned_until(conn)
    return [place for place, own in ids.items() if own in kept or (own[0] in there and found[place].record.at < pruned)]


async def _counts(
    conn: AsyncConnection, found: Sequence[Foreign], keys: Mapping[int, str], forgotten: Forgotten | None
) -> dict[int, tuple[Units | None, Units]]:
    """By place: the counts of the record of that idempotency key, None where it is pruned; nothing for unknown keys."""
    of_places = {place: digests(found[place].part.session_id, key, forgotten) for place, key in keys.items()}
    same = sa.and_(records.c.part == idempotency.c.part, records.c.seq == idempotency.c.seq)
    told = (
        sa.select(idempotency.c.digest, records.c.units, records.c.informational)
        .select_from(idempotency.outerjoin(records, same))
        .where(idempotency.c.digest.in_({one for several in of_places.values() for one in several}))
    )
    there = {row.digest: (row.units, row.informational or {}) for row in await conn.execute(told)}
    return {place: there[one] for place, several in of_places.items() for one in several if one in there}


def tables_of(path: Path) -> Iterator[Numbered]:
    """The rows of `token_usage` and `api_usage`. Raises LedgerUnavailable for a file with neither, and for a ledger."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as conn:
            conn.row_factory = sqlite3.Row
            names = {
                row["name"] for row in conn.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            }
            if "alembic_version" in names and "sources" in names:
                raise LedgerUnavailable(f"{path} is a ledger of livekit-tokens; `restore` puts it in place")
            if not (tables := [name for name in _TABLES if name in names]):
                raise LedgerUnavailable(f"{path} has neither of the tables {' and '.join(_TABLES)}")
            for table in tables:
                for number, row in enumerate(conn.execute(f"SELECT * FROM {table}"), 1):  # noqa: S608 - one of two
                    yield Numbered(number, {"table": table, **dict(row)})
    except sqlite3.DatabaseError as fault:
        raise LedgerUnavailable(f"{path} cannot be read ({fault})") from fault
