"""The ledger against what was promised: read with plain SQL, compared record by record; no code of ours between."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.soak.load import units_of
from tests.soak.prices import cost_of
from tests.soak.result import Result
from tests.soak.told import Told
from tests.soak.worlds import World

QUARTER = 15 * 60 * 1_000_000
_DAY = 96 * QUARTER
_LABELS = ("service", "provider", "model", "operation", "agent", "feature", "provenance")
_KEY = {"part", "bucket", *_LABELS}
_LABELS_OF_DAY = {"day", "sessions", *_LABELS}
_TABLES = ("records", "sums", "parts", "sources", "rolled_days", "day_sums")

Row = Mapping[str, Any]


@dataclass
class Ledgered:
    """Everything that a ledger holds."""

    records: list[Row] = field(default_factory=list)
    sums: list[Row] = field(default_factory=list)
    parts: list[Row] = field(default_factory=list)
    sources: list[Row] = field(default_factory=list)
    rolled_days: list[Row] = field(default_factory=list)
    day_sums: list[Row] = field(default_factory=list)


def ledgered(world: World, tables: Sequence[str] = _TABLES) -> Ledgered:
    queries = [f"SELECT * FROM {table}" for table in tables]
    if world.url.startswith("sqlite"):
        found = _from_sqlite(world, queries)
    else:
        found = asyncio.run(_from_postgres(world.url, queries))
    return Ledgered(**dict(zip(tables, found, strict=True)))


def _from_sqlite(world: World, queries: Iterable[str]) -> list[list[Row]]:
    # Not read-only: WAL files that a killed process has left are read by everybody who may write.
    with closing(sqlite3.connect(world.database, timeout=30)) as conn:
        conn.row_factory = sqlite3.Row
        if (said := conn.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"integrity_check: {said}")
        return [[dict(row) for row in conn.execute(query)] for query in queries]


async def _from_postgres(url: str, queries: Iterable[str]) -> list[list[Row]]:
    conn = await asyncpg.connect(url)
    try:
        return [[dict(row) for row in await conn.fetch(query)] for query in queries]
    finally:
        await conn.close()


def audit(
    world: World,
    told: Told,
    result: Result,
    *,
    runs: int,
    damaged: frozenset[str] | None = None,
    counts_losses: bool = False,
) -> Ledgered:
    """Compare, and add what was found to the result. `damaged` are requests whose lines were damaged on purpose:
    whether they were lost is for the caller to say, and what became of the parts is not looked at. `counts_losses`:
    something was taken that cannot be had back, and the ledger must say how much, in each run for itself; no call may
    seem to be running. In all others it must not say that anything was lost.
    """
    result.runs += runs
    result.emitted += len(told.emitted)
    result.acknowledged += told.acknowledged
    result.faults += told.faults
    if not told.acknowledged:
        result.faults.append("nothing was acknowledged: this run proves nothing")
    try:
        found = ledgered(world)
    except (sqlite3.Error, asyncpg.PostgresError) as error:
        result.lost += told.acknowledged
        result.faults.append(f"the ledger cannot be read: {error}")
        return Ledgered()
    result.stored += len(found.records)
    lost = _compare_records(found.records, told, result, damaged or frozenset())
    compare_sums(found, result)
    compare_days(found, result)
    counted = owned_up_to(found)
    if counts_losses:
        result.counted += counted
    if not damaged and counted != (lost if counts_losses else 0):
        result.faults.append(f"{lost} were lost in a run, and the ledger says that {counted} were")
    if damaged is None:
        _compare_parts(found, told, result, some_lost=counts_losses)
    return found


def _compare_records(records: list[Row], told: Told, result: Result, damaged: frozenset[str]) -> int:
    """Adds to the result, and returns how many were lost."""
    times = Counter(row["request_id"] for row in records)
    result.twice += sum(count - 1 for count in times.values())
    stored = {row["request_id"]: row for row in records}
    reported = {request for request, row in stored.items() if row["provenance"] == "reported"}
    lost = len((told.records - reported - damaged) | (told.in_flight - stored.keys() - damaged))
    result.lost += lost
    if strangers := stored.keys() - told.emitted:
        result.faults.append(f"{len(strangers)} records are in the ledger that nobody emitted")
    for request in reported:
        if json.loads(stored[request]["units"]) != units_of(request):
            result.faults.append(f"the units of {request} are not what was recorded")
    for request, row in stored.items():
        if (row["input_cost"], row["output_cost"]) != cost_of(
            row["model"], row["provenance"], json.loads(row["units"])
        ):
            result.faults.append(f"{request} does not cost what it costs")
    return lost


def compare_sums(found: Ledgered, result: Result) -> None:
    """Column by column: the table of sums is what the records add up to, money and failures too."""
    expected: dict[tuple[Any, ...], Counter[str]] = {}
    for row in found.records:
        key = (bytes(row["part"]), row["at"] - row["at"] % QUARTER, *(row[name] for name in _LABELS))
        expected.setdefault(key, Counter(first_at=row["at"])).update(_added_by(row))
        expected[key]["first_at"] = min(expected[key]["first_at"], row["at"])
    wrong = 0
    for row in found.sums:
        key = (bytes(row["part"]), row["bucket"], *(row[name] for name in _LABELS))
        amounts = expected.pop(key, Counter())
        wrong += any(row[name] != amounts[name] for name in row.keys() - _KEY)
    if wrong or expected:
        result.faults.append(f"{wrong} sums differ from the records, {len(expected)} are missing")


def compare_days(found: Ledgered, result: Result) -> None:
    """Days that are rolled up say what their sums add up to, and know the same sessions by their digests."""
    days = {row["day"] for row in found.rolled_days if row["taken_by"] is None}
    session = {bytes(row["key"]): row["session_id"] for row in found.parts}
    amounts: dict[tuple[Any, ...], Counter[str]] = {}
    sessions: dict[tuple[Any, ...], set[str]] = {}
    for row in found.sums:
        if (day := row["bucket"] - row["bucket"] % _DAY) in days:
            key = (day, *(row[name] for name in _LABELS))
            amounts.setdefault(key, Counter()).update({name: row[name] for name in row.keys() - _KEY - {"first_at"}})
            sessions.setdefault(key, set()).add(session[bytes(row["part"])])
    told = {(row["day"], *(row[name] for name in _LABELS)): row for row in found.day_sums if row["day"] in days}
    wrong = [
        key
        for key, row in told.items()
        if any(row[name] != amounts.get(key, Counter())[name] for name in row.keys() - _LABELS_OF_DAY)
        or sorted(_digests(sessions.get(key, ()))) != sorted(_in_eights(bytes(row["sessions"])))
    ]
    if wrong or amounts.keys() - told.keys():
        result.faults.append(f"{len(wrong)} sums of rolled days are wrong, {len(amounts.keys() - told.keys())} missing")


def _digests(sessions: Iterable[str]) -> set[bytes]:
    return {hashlib.sha256(session.encode()).digest()[:8] for session in sessions}


def _in_eights(raw: bytes) -> list[bytes]:
    return [raw[at : at + 8] for at in range(0, len(raw), 8)]


def _added_by(row: Row) -> dict[str, int]:
    """What a record adds to its sum."""
    units, informational = (json.loads(row[name] or "{}") for name in ("units", "informational"))
    bills = bool(units) or row["provenance"] == "unknown"
    return {
        "requests": 1,
        "failed_requests": int(not row["success"]),
        "unpriced_requests": int(bills and None in (row["input_cost"], row["output_cost"])),
        **units,
        **{f"info_{name}": quantity for name, quantity in informational.items()},
        "input_cost": row["input_cost"] or 0,
        "output_cost": row["output_cost"] or 0,
    }


def _compare_parts(found: Ledgered, told: Told, result: Result, *, some_lost: bool) -> None:
    status = {bytes(row["key"]).hex(): row["status"] for row in found.parts}
    if still_open := [key for key, state in status.items() if state == "open"]:
        result.faults.append(f"{len(still_open)} parts are still open")
    if some_lost:
        return
    if missing := told.opened - status.keys():
        result.faults.append(f"{len(missing)} parts are missing")
    if changed := [key for key in told.closed if status.get(key) not in (None, "closed")]:
        result.faults.append(f"{len(changed)} parts that had closed are not closed")


def owned_up_to(found: Ledgered) -> int:
    """Losses that the ledger itself has counted."""
    return sum(row["lost"] for row in found.sources)
