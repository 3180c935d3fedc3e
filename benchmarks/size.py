"""What a ledger's size does to it: a year of plausible traffic at 10 thousand, 100 thousand, 1 million records.

    python -m benchmarks.size [--sizes 10k,100k,1M,10M] [--postgres] [--keep FOLDER]
    python -m benchmarks.size --full        # all four sizes (about 10 minutes, 4 GB of disk)

With --keep the ledgers of a million records and more stay, SQLite's in the folder, PostgreSQL's on the server of
LIVEKIT_TOKENS_TEST_POSTGRES; what is full is not filled again, and --fill SECONDS only fills, for about so long. So 10
million are measured in parts.

Each size is a ledger of its own, filled as the drain does, with prices. `x` is the growth beside the size before it (10
times the records). Ingest is of the next days' records into the full ledger, 20,000 a day. Times are the store's, the
median of five: CPU time of this process where the database is SQLite, as other processes of a busy machine do not
count; else the clock's. Bytes are what tables and indexes take, over the records that are there; the sums of a year's
days are in them, which a small ledger has as many of as a large one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import secrets
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from benchmarks.table import MET, MISSED, median
from benchmarks.year import END, filled, sqlite_url
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.reports import Question, Reports, open_reports
from livekit_tokens.demo.filling import fill
from livekit_tokens.demo.traffic import traffic
from livekit_tokens.domain.periods import DAY, Period
from livekit_tokens.domain.times import to_datetime
from livekit_tokens.prices.book import PriceBook
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.queries import StoredUsage
from livekit_tokens.store.schema import sources
from livekit_tokens.store.writing import StoreConnection
from tests import postgres

LARGEST = 10_000_000
KEPT_FROM = 1_000_000
"""Smaller ledgers are made anew each time: what is ingested to measure it would soon be most of them."""
MORE = 20_000
ROUNDS = 5
REPORTS: dict[str, tuple[int, tuple[str, ...], float | None]] = {
    "7 days, by service and model": (7, ("service", "model"), 200),
    "30 days, by service and model": (30, ("service", "model"), 200),
    "30 days, by operation": (30, ("operation",), 200),
    "30 days, by day and operation": (30, ("day", "operation"), 200),
    "30 days, by hour and model": (30, ("hour", "model"), None),
    "7 days, by user": (7, ("user",), None),
    "30 days, by user": (30, ("user",), None),
    "a year, by service and model": (365, ("service", "model"), None),
}
"""Days, grouping, and the most milliseconds in a year of 10 million records."""
TOTALS_MS = 1000.0
_BYTES = {
    "sqlite": "SELECT (page_count - freelist_count) * page_size"
    " FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    "postgresql": "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables",
}
"""Of a whole ledger, by the name of its dialect."""
NAMES = ("generated and filled", "ingest", "rolling up a day", *REPORTS, "all-time totals", "bytes a record")


@dataclass
class Size:
    """One column: figures by their name."""

    records: int
    figures: dict[str, float] = field(default_factory=dict)


class Clock:
    """CPU time of this process, or the clock's."""

    def __init__(self, *, cpu: bool) -> None:
        self.now = time.process_time if cpu else time.perf_counter

    async def of(self, work: Callable[[], Awaitable[object]]) -> float:
        took = []
        for _ in range(ROUNDS):
            began = self.now()
            await work()
            took.append((self.now() - began) * 1e3)
        return median(took)


async def measure(url: str, records: int, clock: Clock, fill_seconds: float | None) -> Size:
    size = Size(records)
    ledger = StoreLedger(url, pricing=PriceBook().price, clock=lambda: END)
    connection = await ledger.connect()
    size.figures |= await filled(connection, records, clock.now, fill_seconds)
    if fill_seconds is None:
        if url.startswith("postgresql"):
            async with ledger.outside_transactions() as conn:
                await conn.exec_driver_sql("VACUUM ANALYZE")
        reports = open_reports(StoredUsage(ledger), now=lambda: END)
        gc.collect()
        gc.freeze()  # as a command: what was imported, and what has filled the ledger, is not looked through again
        for name, (days, by, _) in REPORTS.items():
            size.figures[name] = await clock.of(_asking(reports, days, by))
        size.figures["all-time totals"] = await clock.of(lambda: _all_time(ledger))
        size.figures["bytes a record"] = await _bytes_a_record(ledger)
        # Last: what was asked above must not find it.
        size.figures["ingest"] = await _ingest(connection, clock)
    await connection.aclose()
    await ledger.aclose()
    return size


async def _ingest(connection: StoreConnection, clock: Clock) -> float:
    """Records a second, of the calls of the days that follow: nobody calls in the past."""
    speeds = []
    for day in range(ROUNDS):
        begin = END + day * DAY
        calls = list(traffic(Period(begin, begin + DAY), MORE, seed=secrets.randbits(32)))
        gc.freeze()  # the drain holds one batch at a time; these must not cost it garbage collections
        began = clock.now()
        await fill(connection, Source(uuid.uuid4().hex, "bench", 1, begin), calls)
        speeds.append(MORE / (clock.now() - began))
    return median(speeds)


async def _bytes_a_record(ledger: StoreLedger) -> float:
    """A kept ledger has grown by what was ingested before: a source's number counts its records."""
    async with ledger.reader() as conn:
        size = (await conn.exec_driver_sql(_BYTES[conn.dialect.name])).scalar_one()
        return int(size) / int((await conn.execute(sa.select(sa.func.sum(sources.c.seq)))).scalar_one())


def _asking(reports: Reports, days: int, by: tuple[str, ...]) -> Callable[[], Awaitable[object]]:
    return lambda: reports.report(since=to_datetime(END - days * DAY), by=by)


async def _all_time(ledger: StoreLedger) -> object:
    async with StoredUsage(ledger).reader() as reader:
        return await reader.grouped(Question())


def show(title: str, sizes: list[Size]) -> int:
    goals = {name: goal for name, (_, _, goal) in REPORTS.items()} | {"all-time totals": TOTALS_MS}
    print(f"\n{title}")
    head = f"{'':<36}" + "".join(f"{f'{size.records:,}':>14}{'x':>7}" for size in sizes)
    print(head + f"{'goal at 10 million':>20}  met")
    missed = 0
    for name in NAMES:
        cells, before = "", None
        for size in sizes:
            figure = size.figures.get(name)
            cells += f"{'-' if figure is None else f'{figure:,.1f}':>14}"
            cells += f"{figure / before:>7.2f}" if figure and before else f"{'':>7}"
            before = figure
        goal, largest = goals.get(name), before if sizes[-1].records == LARGEST else None
        met = "-" if goal is None or largest is None else "yes" if largest <= goal else "NO"
        missed += met == "NO"
        told = "" if goal is None else f"{f'<= {goal:,.0f} ms':>20}  {met}"
        print(f"{f'{name}, {_unit(name)}':<36}{cells}{told}".rstrip(), flush=True)
    return MISSED if missed else MET


def _unit(name: str) -> str:
    if name in {"ingest", "generated and filled"}:
        return "rec/s"
    return "B" if name.startswith("bytes") else "ms"


@contextmanager
def _databases(keep: Path | None, *, on_postgres: bool) -> Iterator[Callable[[int], str]]:
    """Gives the databases of each size: empty ones that are gone afterwards, or those that are kept."""
    with ExitStack() as stack:
        if on_postgres:
            server = postgres.start()
            stack.callback(server.stop)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def url_of(records: int) -> str:
            kept = keep is not None and records >= KEPT_FROM
            if not on_postgres:
                return sqlite_url(keep if keep is not None and kept else folder, records)
            if kept:
                return server.database(f"size_{records}")
            url = server.new_database()
            stack.callback(server.drop, url)
            return url

        yield url_of


def _records(text: str) -> int:
    """`10k` is 10,000, `1M` a million."""
    return int(text.removesuffix("k").removesuffix("M")) * {"k": 1_000, "M": 1_000_000}.get(text[-1:], 1)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", default="10k,100k,1M")
    options.add_argument("--full", action="store_const", const="10k,100k,1M,10M", dest="sizes")
    options.add_argument("--postgres", action="store_true")
    options.add_argument("--keep", type=Path, metavar="FOLDER")
    options.add_argument("--fill", type=float, metavar="SECONDS")
    given = options.parse_args()
    with _databases(given.keep, on_postgres=given.postgres) as database_of:
        sizes = []
        for records in map(_records, given.sizes.split(",")):
            url = database_of(records)
            sizes.append(asyncio.run(measure(url, records, Clock(cpu=not given.postgres), given.fill)))
            print(
                f"{records:,} records {'measured' if given.fill is None else 'filled, so far'}",
                file=sys.stderr,
                flush=True,
            )
        return show(f"Size, {'PostgreSQL' if given.postgres else 'SQLite, CPU time'}", sizes)


if __name__ == "__main__":
    sys.exit(main())
