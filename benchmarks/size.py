"""What a ledger's size does to it: a year of plausible traffic at 10 thousand, 100 thousand, 1 million records.

    python -m benchmarks.size [--full] [--postgres]     # --full: also 10 million (about 10 minutes, 4 GB of disk)

Each size is a ledger of its own, filled as the drain does. `x` is the growth beside the size before it (10 times the
records). Ingest is of the next 20,000 records into the full ledger. Times are the store's, the median of three: CPU
time of this process where the database is SQLite, as other processes of a busy machine do not count; else the clock's.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.table import MET, MISSED, median
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.reports import Question, Reports, open_reports
from livekit_tokens.demo.filling import fill
from livekit_tokens.demo.traffic import traffic
from livekit_tokens.domain.periods import DAY, Period
from livekit_tokens.domain.times import Micros, to_datetime
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.queries import StoredUsage
from livekit_tokens.store.writing import StoreConnection
from tests import postgres

SIZES = (10_000, 100_000, 1_000_000)
FULL = 10_000_000
MORE = 20_000
END: Micros = 1_795_631_831_000_000
"""2026-11-25 18:37:11 UTC: in the middle of a day, of an hour, of a quarter."""
YEAR = Period(END - 365 * DAY, END)

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
        for _ in range(3):
            began = self.now()
            await work()
            took.append((self.now() - began) * 1e3)
        return median(took)


async def measure(url: str, records: int, clock: Clock) -> Size:
    size = Size(records)
    ledger = StoreLedger(url, clock=lambda: END)
    connection = await ledger.connect()
    await _fill(connection, records, size, clock)
    if url.startswith("postgresql"):
        async with ledger.outside_transactions() as conn:
            await conn.exec_driver_sql("VACUUM ANALYZE")
    reports = open_reports(StoredUsage(ledger), now=lambda: END)
    for name, (days, by, _) in REPORTS.items():
        size.figures[name] = await clock.of(_asking(reports, days, by))
    size.figures["all-time totals"] = await clock.of(lambda: _all_time(ledger))
    # Last: what was asked above must not find it.
    size.figures["ingest"] = await _ingest(connection, clock)
    await connection.aclose()
    await ledger.aclose()
    return size


async def _fill(connection: StoreConnection, records: int, size: Size, clock: Clock) -> None:
    began = time.perf_counter()
    await fill(connection, Source("size", "bench", 1, YEAR.since), traffic(YEAR, records, seed=1))
    size.figures["generated and filled"] = records / (time.perf_counter() - began)
    began = clock.now()
    while await connection.roll_up(5):
        pass
    size.figures["rolling up a day"] = (clock.now() - began) * 1e3 / 365


async def _ingest(connection: StoreConnection, clock: Clock) -> float:
    """Records a second, of the calls of the days that follow: nobody calls in the past."""
    speeds = []
    for day in range(3):
        begin = END + day * DAY
        calls = list(traffic(Period(begin, begin + DAY), MORE, seed=2 + day))
        began = clock.now()
        await fill(connection, Source(f"more-{day}", "bench", 1, begin), calls)
        speeds.append(MORE / (clock.now() - began))
    return median(speeds)


def _asking(reports: Reports, days: int, by: tuple[str, ...]) -> Callable[[], Awaitable[object]]:
    return lambda: reports.report(since=to_datetime(END - days * DAY), by=by)


async def _all_time(ledger: StoreLedger) -> object:
    async with StoredUsage(ledger).reader() as reader:
        return await reader.grouped(Question())


def show(title: str, sizes: list[Size]) -> int:
    names = [name for name in sizes[0].figures if name != "ingest"]
    names.insert(1, "ingest")
    goals = {name: goal for name, (_, _, goal) in REPORTS.items()} | {"all-time totals": TOTALS_MS}
    print(f"\n{title}")
    head = f"{'':<32}" + "".join(f"{f'{size.records:,}':>14}{'x':>7}" for size in sizes)
    print(head + f"{'goal at 10 million':>20}  met")
    missed = 0
    for name in names:
        cells, before = "", None
        for size in sizes:
            figure = size.figures[name]
            cells += f"{figure:>14,.1f}" + (f"{figure / before:>7.2f}" if before else f"{'':>7}")
            before = figure
        goal, is_full = goals.get(name), sizes[-1].records == FULL
        met = goal is not None and is_full and sizes[-1].figures[name] <= goal
        missed += goal is not None and is_full and not met
        told = "" if goal is None else f"{f'<= {goal:,.0f} ms':>20}  {('yes' if met else 'NO') if is_full else '-'}"
        print(f"{f'{name}, {_unit(name)}':<32}{cells}{told}".rstrip(), flush=True)
    return MISSED if missed else MET


def _unit(name: str) -> str:
    if name in {"ingest", "generated and filled"}:
        return "rec/s"
    return "B" if name.startswith("bytes") else "ms"


@contextmanager
def _databases(*, on_postgres: bool) -> Iterator[Callable[[], str]]:
    """Gives empty databases, one after the other."""
    if on_postgres:
        server = postgres.start()
        try:
            yield server.new_database
        finally:
            server.stop()
        return
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(1_000))
        yield lambda: f"sqlite:///{folder}/{next(numbers)}.db"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--full", action="store_true")
    options.add_argument("--postgres", action="store_true")
    given = options.parse_args()
    with _databases(on_postgres=given.postgres) as new_database:
        sizes = []
        for records in (*SIZES, *((FULL,) if given.full else ())):
            url = new_database()
            sizes.append(asyncio.run(measure(url, records, Clock(cpu=not given.postgres))))
            if not given.postgres:
                sizes[-1].figures["bytes a record"] = Path(url.removeprefix("sqlite:///")).stat().st_size / records
            print(f"{records:,} records measured", file=sys.stderr, flush=True)
        return show(f"Size, {'PostgreSQL' if given.postgres else 'SQLite, CPU time'}", sizes)


if __name__ == "__main__":
    sys.exit(main())
