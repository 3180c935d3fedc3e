"""Ingest into the ledger beside the bare driver: the same rows, the same run, the same size of batches.

    python -m benchmarks.ingest [--records 100000] [--batch 2500] [--rounds 11]

Bare: `sqlite3.executemany` / asyncpg's COPY of ready-made rows into the same table, one commit a batch. Ours: a
batch as the drain hands it over, with prices, JSON, sums, parts and the checkpoint's compare-and-set. A round is both,
one after the other, each on an empty database; which one is first alternates. The goal is told as time: 0.6 of the bare
speed is 1.67 times its time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg

from benchmarks.table import Line, median, show
from livekit_tokens.core.ledger import START, Batch, Checkpoint, Source
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices.book import PriceBook
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.engines import CHECKPOINT_PAGES
from livekit_tokens.store.rows import WHOLE, Row, whole_rows
from tests import postgres

GOALS = {"SQLite": 0.6, "PostgreSQL": 0.5}
PRICES = PriceBook()
RECORDS_PER_CALL = 60
"""Twenty turns of three requests. A job process has one call, and so has its spool's batch; here it has 40."""
Seconds = tuple[list[float], list[float]]
"""Of the bare driver, and ours, a round each."""
NOW = 1_795_000_000_000_000


def calls(count: int) -> Iterator[tuple[Part, list[UsageRecord]]]:
    """Calls of a realtime agent with a transcriber, as the wire brings them."""
    random.seed(1)
    for number in range(-(-count // RECORDS_PER_CALL)):
        start = NOW + number * 2_000_000
        key = (start // 1000).to_bytes(6).hex() + random.randbytes(10).hex()
        part = Part(key, f"room-{number}_abc123def", start, room=f"room-{number}", user=f"user-{number % 500}")
        yield part, [record(key, start + turn * 5_000_000, turn) for turn in range(RECORDS_PER_CALL)]


def record(key: str, at: int, turn: int) -> UsageRecord:
    if turn % 3 == 2:
        units, informational = {"audio_ms": 4000 + turn}, {"input_audio": 40, "output_text": 12}
        return UsageRecord(
            key, at, "transcriber", "openai", "whisper-1", "transcription", units, informational=informational
        )
    units = {
        "input_text": random.randrange(900),
        "input_audio": random.randrange(400),
        "cached_input_text": 640,
        "output_text": 60,
        "output_audio": random.randrange(600),
    }
    return UsageRecord(
        key,
        at,
        "agent",
        "openai",
        "gpt-realtime",
        "realtime_response",
        units,
        agent="Assistant",
        processing_ms=1400,
        first_output_ms=310,
        request_id=f"resp_{random.getrandbits(64):016x}",
    )


def batches(count: int, size: int) -> list[Batch]:
    source = Source("bench", "host", 1, NOW)
    told = list(calls(count))
    numbered = list(enumerate((r for _, records in told for r in records), 1))[:count]
    by_key = {part.key: part for part, _ in told}
    made: list[Batch] = []
    before = None
    for start in range(0, count, size):
        records = tuple(numbered[start : start + size])
        parts = tuple(by_key[key] for key in sorted({r.part for _, r in records}))
        after = Checkpoint(START.segment, (start + size) * 400, records[-1][0])
        made.append(Batch(source, before, after, parts, (), records))
        before = after
    return made


def bare_rows(made: list[Batch]) -> list[list[Row]]:
    return [list(whole_rows((told, PRICES.price(told[1])) for told in batch.records)) for batch in made]


async def ours(url: str, made: list[Batch]) -> float:
    ledger = StoreLedger(url, pricing=PRICES.price)
    connection = await ledger.connect()
    began = time.perf_counter()
    for batch in made:
        assert await connection.apply(batch)
    took = time.perf_counter() - began
    await connection.aclose()
    await ledger.aclose()
    return took


async def made_empty(url: str) -> None:
    ledger = StoreLedger(url)
    await (await ledger.connect()).aclose()
    await ledger.aclose()


def bare_sqlite(path: Path, rows: list[list[Row]]) -> float:
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA synchronous = NORMAL")
    conn.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    sql = f"INSERT INTO records VALUES ({', '.join('?' * len(WHOLE))})"
    began = time.perf_counter()
    for batch in rows:
        conn.execute("BEGIN IMMEDIATE")
        conn.executemany(sql, batch)
        conn.execute("COMMIT")
    took = time.perf_counter() - began
    conn.close()
    return took


async def bare_postgres(url: str, rows: list[list[Row]]) -> float:
    conn = await asyncpg.connect(url)
    began = time.perf_counter()
    for batch in rows:
        await conn.copy_records_to_table("records", records=batch, columns=WHOLE)
    took = time.perf_counter() - began
    await conn.close()
    return took


def on_sqlite(made: list[Batch], rows: list[list[Row]], rounds: int) -> Seconds:
    def a_round(first_ours: bool) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("bare", "ours"):
                asyncio.run(made_empty(f"sqlite:///{folder}/{name}.db"))
            return both(
                lambda: bare_sqlite(Path(folder) / "bare.db", rows),
                lambda: asyncio.run(ours(f"sqlite:///{folder}/ours.db", made)),
                first_ours,
            )

    return alternating(a_round, rounds)


def on_postgres(server: postgres.Server, made: list[Batch], rows: list[list[Row]], rounds: int) -> Seconds:
    def a_round(first_ours: bool) -> tuple[float, float]:
        urls = [server.new_database() for _ in range(2)]
        for url in urls:
            asyncio.run(made_empty(url))
        took = both(
            lambda: asyncio.run(bare_postgres(urls[0], rows)), lambda: asyncio.run(ours(urls[1], made)), first_ours
        )
        for url in urls:
            server.drop(url)
        return took

    return alternating(a_round, rounds)


def both(bare: Callable[[], float], our: Callable[[], float], first_ours: bool) -> tuple[float, float]:
    """Of the bare driver, and ours."""
    if first_ours:
        later = our()
        return bare(), later
    return bare(), our()


def alternating(a_round: Callable[[bool], tuple[float, float]], rounds: int) -> Seconds:
    """The first round warms up, and is not counted."""
    took = [a_round(bool(number % 2)) for number in range(rounds + 1)][1:]
    return [bare for bare, _ in took], [our for _, our in took]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=100_000)
    options.add_argument("--batch", type=int, default=2_500, help="the drain reads 1 MB at a time, about so many lines")
    options.add_argument("--rounds", type=int, default=11)
    given = options.parse_args()
    made = batches(given.records, given.batch)
    rows = bare_rows(made)
    # The drain holds one batch at a time; the others that wait here must not cost it garbage collections.
    gc.freeze()
    measured = {"SQLite": on_sqlite(made, rows, given.rounds)}
    try:
        server = postgres.start()
    except postgres.NoPostgres as missing:
        print(f"PostgreSQL not measured: {missing}")
    else:
        try:
            measured["PostgreSQL"] = on_postgres(server, made, rows, given.rounds)
        finally:
            server.stop()
    lines = [_line(name, bare, our, given.records) for name, (bare, our) in measured.items()]
    return show(f"{given.records:,} records in batches of {given.batch:,}", lines, "the bare driver, the same rows")


def _line(name: str, bare: list[float], our: list[float], records: int) -> Line:
    """Microseconds a record."""
    each, beside = ([took / records * 1e6 for took in found] for found in (our, bare))
    speed, bare_speed = (records / median(found) for found in (our, bare))
    promise = f"{name}: {speed:,.0f} of {bare_speed:,.0f} records/s"
    return Line.paired(promise, each, beside, "us", 1 / GOALS[name])


if __name__ == "__main__":
    sys.exit(main())
