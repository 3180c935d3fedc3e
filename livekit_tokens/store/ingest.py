"""A batch of the spool written into the ledger: all of it or nothing, in one transaction with the checkpoint."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core import faults
from livekit_tokens.core.ledger import Batch, Checkpoint
from livekit_tokens.core.lines import Late
from livekit_tokens.domain.pricing import Pricing
from livekit_tokens.domain.times import Micros
from livekit_tokens.store.copying import PIECE, copy_in_pieces
from livekit_tokens.store.faults import Unstorable, told
from livekit_tokens.store.keeping.forgotten import forgotten_here, without_forgotten
from livekit_tokens.store.named import complete_named, hold_sessions
from livekit_tokens.store.once import as_told, told_first
from livekit_tokens.store.ready import Ready, in_pieces, ready
from livekit_tokens.store.rows import (
    PLAIN,
    WHOLE,
    Columns,
    Numbered,
    Row,
    last_parts,
    last_stays,
    part_row,
    unannounced,
)
from livekit_tokens.store.statements import Statements, advance, checkpoints, end_in_gap, records_numbered
from livekit_tokens.store.storable import without_figures


async def read_checkpoints(conn: AsyncConnection, sources: Iterable[str]) -> dict[str, Checkpoint]:
    rows = await conn.execute(checkpoints, {"ids": list(sources)})
    return {row.id: Checkpoint(row.segment, row.byte_offset, row.seq) for row in rows}


async def count_lacking(conn: AsyncConnection, records: Sequence[Numbered]) -> int:
    """How many of these are not in the ledger under their number, part and time, which together are a record's key."""
    wanted = {(bytes.fromhex(record.part), seq, record.at) for seq, record in records}
    numbers = [seq for seq, _ in records]
    given = {"parts": sorted({part for part, _, _ in wanted}), "first": min(numbers), "last": max(numbers)}
    there = {(bytes(row.part), row.seq, row.at) for row in await conn.execute(records_numbered, given)}
    return len(wanted - there)


async def apply(
    conn: AsyncConnection,
    statements: Statements,
    batch: Batch,
    *,
    pricing: Pricing,
    now: Micros,
    known: set[str],
    forgot: set[str],
) -> bool:
    """Write the batch and move its checkpoint; False, with nothing written, if the checkpoint was elsewhere.

    `known` are keys of parts that are in the ledger for certain; those of the batch are added once it is committed.
    Its source is added to `forgot` if the batch tells of people whom the ledger has forgotten.
    Parts and stays are last-wins also when lines are replayed after a restored backup: the checkpoint went back
    with everything else, and the lines that follow it come in their order, so the last one is the newest again.
    """
    said = as_told(batch)
    unkeyed, keyed = _by_key(batch.records, said.keys)
    written = _written_ready(statements, unkeyed, pricing)
    for _, record in keyed:
        pricing(record)  # its model's first price may take its time; it shall not in the transaction
    async with conn.begin() as transaction:
        if statements.begin_sql:
            await conn.exec_driver_sql(statements.begin_sql)
        if not await _checkpoint_moved(conn, statements, batch, now):
            await transaction.rollback()
            return False
        forgotten = await forgotten_here(conn)
        if forgotten is not None and (rest := await without_forgotten(conn, forgotten, batch)) != batch:
            forgot.add(batch.source.id)
            batch, (unkeyed, keyed) = rest, _by_key(rest.records, said.keys)
            written = _written_ready(statements, unkeyed, pricing)
        await hold_sessions(conn, batch.parts)
        await _write_parts(conn, statements, batch, known)
        if batch.still_open is not None:
            await _end_others(conn, batch.source.id, batch.still_open)
        await complete_named(conn, batch.parts, forgotten)
        await _write_all(conn, statements, statements.stays_sql, last_stays(batch.stays))
        if unkeyed:
            await _write(conn, statements, written)
        if batch.late:
            await conn.execute(statements.late_figures, [_late_row(batch.source.id, late) for late in batch.late])
        if keyed and (first := await told_first(conn, statements, keyed, said, forgotten)):
            await _write(conn, statements, _written_ready(statements, first, pricing))
    known.update(part.key for part in batch.parts)
    known.update(record.part for _, record in batch.records)
    return True


def _by_key(records: Iterable[Numbered], keys: Container[int]) -> tuple[list[Numbered], list[Numbered]]:
    """The records that count at once, and those that count once per idempotency key."""
    unkeyed: list[Numbered] = []
    keyed: list[Numbered] = []
    for numbered in records:
        (keyed if numbered[0] in keys else unkeyed).append(numbered)
    return unkeyed, keyed


async def _checkpoint_moved(conn: AsyncConnection, statements: Statements, batch: Batch, now: Micros) -> bool:
    source, before, after = batch.source, batch.before, batch.after
    if before is None:
        row = {
            "id": source.id,
            "host": source.host,
            "pid": source.pid,
            "started_at": source.started_at,
            "segment": after.segment,
            "byte_offset": after.offset,
            "seq": after.seq,
            "lost": batch.lost,
            "updated_at": now,
        }
        return (await conn.execute(statements.first_source, row)).rowcount == 1
    values = {
        "source": source.id,
        "before_segment": before.segment,
        "before_offset": before.offset,
        "after_segment": after.segment,
        "after_offset": after.offset,
        "after_seq": after.seq,
        "more_lost": batch.lost,
        "now": now,
    }
    return (await conn.execute(advance, values)).rowcount == 1


async def _write_parts(conn: AsyncConnection, statements: Statements, batch: Batch, known: set[str]) -> None:
    await _write_all(conn, statements, statements.parts_sql, last_parts(batch.source.id, batch.parts))
    strangers = {record.part for _, record in batch.records} - known - {part.key for part in batch.parts}
    if strangers:
        first_at = {record.part: record.at for _, record in reversed(batch.records) if record.part in strangers}
        rows = [part_row(batch.source.id, unannounced(key, at)) for key, at in sorted(first_at.items())]
        await _write_all(conn, statements, statements.unannounced_sql, rows)


async def _end_others(conn: AsyncConnection, source: str, still_open: Iterable[str]) -> None:
    await conn.execute(end_in_gap, {"of_source": source, "still_open": [bytes.fromhex(key) for key in still_open]})


def _late_row(source: str, late: Late) -> dict[str, object]:
    return {"source": source, "seq": late.of, "at": late.at, "units": dict(late.units)}


def _written_ready(statements: Statements, records: Sequence[Numbered], pricing: Pricing) -> Ready:
    """PostgreSQL takes rows in while others are made; SQLite has one lock for all, so its transaction is to be for I/O
    only.
    """
    if statements.by_columns:
        return in_pieces(records, pricing, PIECE, true=statements.true)
    return ready(records, pricing, true=statements.true)


async def _write(conn: AsyncConnection, statements: Statements, written: Ready) -> None:
    await _write_records(conn, statements, PLAIN, written.plain)
    await _write_records(conn, statements, WHOLE, [written.whole] if written.whole else ())
    await _write_all(conn, statements, statements.sums_sql, written.sums)


async def _write_records(
    conn: AsyncConnection, statements: Statements, columns: Columns, pieces: Iterable[Sequence[Row]]
) -> None:
    driver = await _driver(conn)
    if statements.by_columns:
        await copy_in_pieces(driver, "records", columns, pieces)
    else:
        for piece in pieces:
            await driver.executemany(statements.records_sql[columns], piece)


async def _write_all(conn: AsyncConnection, statements: Statements, sql: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    driver = await _driver(conn)
    if statements.by_columns:
        await driver.execute(sql, *(list(column) for column in zip(*rows, strict=True)))
    else:
        await driver.executemany(sql, rows)


async def _driver(conn: AsyncConnection) -> Any:
    """The driver's own connection, for rows that are in its own form already, in the transaction that the checkpoint's
    statement has opened. COPY is asyncpg's alone; and a cursor of SQLAlchemy's takes aiosqlite's thread three turns, a
    tenth of a millisecond each, where one does.
    """
    return (await conn.get_raw_connection()).driver_connection


async def with_figures_that_fit(conn: AsyncConnection, statements: Statements, batch: Batch, pricing: Pricing) -> Batch:
    """The batch with `unknown` in place of each record that cannot be stored, or not added to its sum: all are tried,
    one after the other, and nothing is written.

    No figure that is accepted is so large; this is so that none that comes all the same stops a spool for ever.
    """
    async with conn.begin() as transaction:
        if statements.begin_sql:
            await conn.exec_driver_sql(statements.begin_sql)
        fitting = [
            numbered if await _fits(conn, statements, numbered, pricing) else without_figures(numbered)
            for numbered in batch.records
        ]
        await transaction.rollback()
    return replace(batch, records=tuple(fitting))


async def _fits(conn: AsyncConnection, statements: Statements, numbered: Numbered, pricing: Pricing) -> bool:
    try:
        with told("the database"):
            async with conn.begin_nested():
                await _write(conn, statements, _written_ready(statements, [numbered], pricing))
    except Unstorable:
        seq, record = numbered
        faults.note("a record's figures cannot be stored; it is recorded as unknown", part=record.part, seq=seq)
        return False
    return True
