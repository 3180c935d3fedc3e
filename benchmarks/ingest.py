"""Ingest into the ledger beside the bare driver: the same rows, the same run, the same size of batches.

    python -m benchmarks.ingest [--records 100000] [--batch 2500] [--rounds 11]

Bare: `sqlite3.executemany` / asyncpg's COPY of ready-made rows into the same table, one commit a batch: once with all
columns of the table, the goal's reading of "the same rows", and once with only those that we write, without the
eight that such records have nothing for: what the database could do at best with what it gets from us. Ours: a batch as
the drain hands it over, with prices, JSON, sums, parts and the checkpoint's compare-and-set. A round is all three, one
after the other, each on an empty database; which one is first goes round. The goal is told as time: 0.6 of the bare
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
from livekit_tokens.store.rows import PLAIN, WHOLE, Columns, Row, plain_rows, whole_rows
from tests import postgres

GOALS = {"SQLite": 0.6, "PostgreSQL": 0.5}
PRICES = PriceBook()
RECORDS_PER_CALL = 60
"""Twenty turns of three requests. A job process has one call, and so has its spool's batch; here it has 40."""
Bare = tuple[Columns, list[list[Row]]]
"""Columns, and the rows of each batch."""
Round = tuple[float, float, float]
"""Seconds: bare with every column, bare with ours, and ours."""
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


def bare_rows(made: list[Batch], *, true: int) -> tuple[Bare, Bare]:
    """With every column, and with those that we write."""
    priced = [[(told, PRICES.price(told[1])) for told in batch.records] for batch in made]
    whole = [list(whole_rows(batch)) for batch in priced]
    return (WHOLE, whole), (PLAIN, [list(plain_rows(batch, true=true)) for batch in priced])


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


def bare_sqlite(path: Path, bare: Bare) -> float:
    columns, rows = bare
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA synchronous = NORMAL")
    conn.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    sql = f"INSERT INTO records ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    began = time.perf_counter()
    for batch in rows:
        conn.execute("BEGIN IMMEDIATE")
        conn.executemany(sql, batch)
        conn.execute("COMMIT")
    took = time.perf_counter() - began
    conn.close()
    return took


async def bare_postgres(url: str, bare: Bare) -> float:
    columns, rows = bare
    conn = await asyncpg.connect(url)
    began = time.perf_counter()
    for batch in rows:
        await conn.copy_records_to_table("records", records=batch, columns=columns)
    took = time.perf_counter() - began
    await conn.close()
    return took


def on_sqlite(made: list[Batch], rounds: int) -> list[Round]:
    every, own = bare_rows(made, true=1)
    gc.freeze()  # the drain holds one batch at a time; what waits here must not cost it garbage collections

    def a_round(number: int) -> Round:
        with tempfile.TemporaryDirectory() as folder:
            for name in range(3):
                asyncio.run(made_empty(f"sqlite:///{folder}/{name}.db"))
            return in_turn(
                number,
                lambda: bare_sqlite(Path(folder) / "0.db", every),
                lambda: bare_sqlite(Path(folder) / "1.db", own),
                lambda: asyncio.run(ours(f"sqlite:///{folder}/2.db", made)),
            )

    return [a_round(number) for number in range(rounds + 1)][1:]  # the first one warms up


def on_postgres(server: postgres.Server, made: list[Batch], rounds: int) -> list[Round]:
    every, own = bare_rows(made, true=True)
    gc.freeze()

    def a_round(number: int) -> Round:
        urls = [server.new_database() for _ in range(3)]
        for url in urls:
            asyncio.run(made_empty(url))
        took = in_turn(
            number,
            lambda: asyncio.run(bare_postgres(urls[0], every)),
            lambda: asyncio.run(bare_postgres(urls[1], own)),
            lambda: asyncio.run(ours(urls[2], made)),
        )
        for url in urls:
            server.drop(url)
        return took

    return [a_round(number) for number in range(rounds + 1)][1:]


def in_turn(number: int, *works: Callable[[], float]) -> Round:
    """All three; which one is first follows from the round's number."""
    took = {place % 3: works[place % 3]() for place in range(number, number + 3)}
    return took[0], took[1], took[2]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=100_000)
    options.add_argument("--batch", type=int, default=2_500, help="the drain reads 1 MB at a time, about so many lines")
    options.add_argument("--rounds", type=int, default=11)
    given = options.parse_args()
    made = batches(given.records, given.batch)
    measured = {"SQLite": on_sqlite(made, given.rounds)}
    try:
        server = postgres.start()
    except postgres.NoPostgres as missing:
        print(f"PostgreSQL not measured: {missing}")
    else:
        try:
            measured["PostgreSQL"] = on_postgres(server, made, given.rounds)
        finally:
            server.stop()
    lines = [line for name, rounds in measured.items() for line in _lines(name, rounds, given.records)]
    return show(f"{given.records:,} records in batches of {given.batch:,}", lines, "the bare driver")


def _lines(name: str, rounds: list[Round], records: int) -> Iterator[Line]:
    """Microseconds a record, beside the bare driver's; with a goal beside the rows of all columns."""
    every, own, ours = ([took / records * 1e6 for took in found] for found in zip(*rounds, strict=True))
    for columns, beside, goal in (("every column", every, 1 / GOALS[name]), ("our columns", own, None)):
        speed, bare_speed = (1e6 / median(found) for found in (ours, beside))
        promise = f"{name}, bare with {columns}: {speed:,.0f} of {bare_speed:,.0f} records/s"
        yield Line.paired(promise, ours, beside, "us", goal)


if __name__ == "__main__":
    sys.exit(main())
