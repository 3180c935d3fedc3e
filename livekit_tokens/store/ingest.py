"""A batch of the spool written into the ledger: all of it or nothing, in one transaction with the checkpoint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.core.ledger import Batch, Checkpoint
from livekit_tokens.core.lines import Late
from livekit_tokens.domain.pricing import Price, Pricing
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.stretches import is_stretch
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.keeping.forgotten import without_forgotten
from livekit_tokens.store.named import complete_named
from livekit_tokens.store.once import told_first
from livekit_tokens.store.rows import Numbered, Row, last_parts, last_stays, part_row, record_rows, unannounced
from livekit_tokens.store.schema import records as records_table
from livekit_tokens.store.statements import Statements, advance, checkpoints, end_in_gap, records_numbered
from livekit_tokens.store.sums import sum_rows

_Line = TypeVar("_Line", Part, Stay, UsageRecord)

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_INDEXED = {"session_id", "user", "service", "provider", "model", "operation", "agent", "feature"}
_LONGEST_INDEXED = 400
"""Bytes. Six such names are in the key of a sum, and a row of PostgreSQL's B-tree holds 2,704 in all."""
_RECORD_COLUMNS = [column.name for column in records_table.columns]


class Prepared(NamedTuple):
    """Rows of `records`, and the rows to be added to `sums` once those have been written."""

    records: Iterable[Row]
    sums: Sequence[Row]


def prepared(records: Sequence[Numbered], prices: Sequence[Price]) -> Prepared:
    """Ready before the transaction, so that its lock is held for I/O only (SQLite has one for all)."""
    rows = list(record_rows(records, prices))
    return Prepared(rows, sum_rows(rows, records, prices))


def streamed(records: Sequence[Numbered], prices: Sequence[Price]) -> Prepared:
    """Each row is made when it is asked for, the sums after the last one: a server that is sent the rows half a
    megabyte at a time (asyncpg's COPY) reads the first ones meanwhile.
    """
    sums: list[Row] = []

    def rows() -> Iterator[Row]:
        told: list[Row] = []
        for row in record_rows(records, prices):
            told.append(row)
            yield row
        sums.extend(sum_rows(told, records, prices))

    return Prepared(rows(), sums)


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
    plain, keyed = _by_key(batch.records)
    make_ready = streamed if statements.by_columns else prepared
    # Priced before the transaction: a model's first price may take its time.
    ready = make_ready(plain, [pricing(record) for _, record in plain])
    keyed_prices = {seq: pricing(record) for seq, record in keyed}
    async with conn.begin() as transaction:
        if statements.begin_sql:
            await conn.exec_driver_sql(statements.begin_sql)
        if not await _checkpoint_moved(conn, statements, batch, now):
            await transaction.rollback()
            return False
        if (told := await without_forgotten(conn, batch)) != batch:
            forgot.add(batch.source.id)
            batch, (plain, keyed) = told, _by_key(told.records)
            ready = make_ready(plain, [pricing(record) for _, record in plain])
        await _write_parts(conn, statements, batch, known)
        if batch.still_open is not None:
            await _end_others(conn, batch.source.id, batch.still_open)
        await complete_named(conn, batch.parts)
        await _write_all(conn, statements, statements.stays_sql, last_stays(batch.stays))
        if plain:
            await _write(conn, statements, ready)
        if batch.late:
            await conn.execute(statements.late_figures, [_late_row(batch.source.id, late) for late in batch.late])
        if keyed and (first := await told_first(conn, statements, keyed)):
            prices = [pricing(record) if is_stretch(record) else keyed_prices[seq] for seq, record in first]
            await _write(conn, statements, make_ready(first, prices))
    known.update(part.key for part in batch.parts)
    known.update(record.part for _, record in batch.records)
    return True


def _by_key(records: Iterable[Numbered]) -> tuple[list[Numbered], list[Numbered]]:
    """The records that count at once, and those that count once per idempotency key."""
    plain: list[Numbered] = []
    keyed: list[Numbered] = []
    for numbered in records:
        (plain if numbered[1].idempotency_key is None else keyed).append(numbered)
    return plain, keyed


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
    told = known.union(part.key for part in batch.parts)
    strangers: dict[str, Micros] = {}
    for _, record in batch.records:
        if record.part not in told:
            strangers.setdefault(record.part, record.at)
    rows = [part_row(batch.source.id, unannounced(key, at)) for key, at in sorted(strangers.items())]
    await _write_all(conn, statements, statements.unannounced_sql, rows)


async def _end_others(conn: AsyncConnection, source: str, still_open: Iterable[str]) -> None:
    await conn.execute(end_in_gap, {"of_source": source, "still_open": [bytes.fromhex(key) for key in still_open]})


def _late_row(source: str, late: Late) -> dict[str, object]:
    return {"source": source, "seq": late.of, "at": late.at, "units": dict(late.units)}


async def _write(conn: AsyncConnection, statements: Statements, ready: Prepared) -> None:
    if statements.by_columns:
        # COPY is asyncpg's own; it runs in the transaction that the checkpoint's statement has opened.
        driver: Any = (await conn.get_raw_connection()).driver_connection
        await driver.copy_records_to_table("records", records=ready.records, columns=_RECORD_COLUMNS)
    else:
        await conn.exec_driver_sql(statements.records_sql, list(ready.records))
    await _write_all(conn, statements, statements.sums_sql, ready.sums)


async def _write_all(conn: AsyncConnection, statements: Statements, sql: str, rows: Sequence[Row]) -> None:
    if rows and statements.by_columns:
        await conn.exec_driver_sql(sql, tuple(list(column) for column in zip(*rows, strict=True)))
    elif rows:
        await conn.exec_driver_sql(sql, rows)


def storable(batch: Batch) -> Batch:
    """The batch with U+FFFD in place of what a text cannot hold: NUL (PostgreSQL) and halves of surrogate pairs; names
    that are longer than an index holds (PostgreSQL) are cut, and end in a hash of the whole.

    One such character, or such a name, must not stop a source's whole spool for ever.
    """
    return replace(
        batch,
        parts=tuple(_storable(part) for part in batch.parts),
        stays=tuple(_storable(stay) for stay in batch.stays),
        records=tuple((seq, _storable(record)) for seq, record in batch.records),
    )


def _storable(value: _Line) -> _Line:
    cleaned: dict[str, Any] = {f.name: _clean(getattr(value, f.name)) for f in fields(value)}
    indexed = {name: _cut(text) for name in _INDEXED & cleaned.keys() if (text := cleaned[name])}
    return replace(value, **cleaned | indexed)


def _cut(text: str) -> str:
    whole = text.encode()
    if len(whole) <= _LONGEST_INDEXED:
        return text
    digest = hashlib.sha256(whole).hexdigest()[:32]
    return f"{whole[: _LONGEST_INDEXED - len(digest) - 1].decode(errors='ignore')}~{digest}"


def _clean(value: object) -> object:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
