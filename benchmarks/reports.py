"""Every command of the reports over a generated year, asked about its last 30 days.

    python -m benchmarks.reports [--records 1000000] [--rounds 5] [--keep FOLDER]
    python -m benchmarks.reports --records 10000000 --keep FOLDER       # the ledger that benchmarks.size keeps there

The reference is a process that imports what every command needs (SQLAlchemy, pydantic-settings, typer) and ends: no
command can take less. The best round counts; whole processes, from start to exit, by the processor's time: a command
does one thing after the other, so that is what a person waits on a machine that has nothing else to do; the wall clock
would measure what else it does. Afterwards the totals of all forms are set beside a plain Python sum over the export.
Exit 1 if a goal is missed: a second for each command in a ledger of a million records, and for `report` 0.7 s also in
one of 10 million.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from benchmarks.table import MISSED, Line, show
from benchmarks.year import END, filled, sqlite_url
from livekit_tokens.domain.times import to_datetime
from livekit_tokens.prices.book import PriceBook
from livekit_tokens.store.connection import StoreLedger

GOAL_SECONDS, GOAL_UP_TO = 1.0, 1_000_000
"""Of every command, in a ledger of at most so many records."""
_GOALS = {"report": 0.7}
"""In one of 10 million too."""
FLOOR = ("-c", "import sqlalchemy.ext.asyncio, aiosqlite, pydantic_settings, typer")
COMMANDS = (
    "report",
    "report --by user",
    "report --by day",
    "report --by model --by day",
    "sessions",
    "top users",
    "top sessions",
    "top requests",
    "trend",
    "trend --per model",
    "compare",
    "performance",
    "cost-analysis",
    "statement --user user-0000",
    "report --html -",
)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--records", type=int, default=1_000_000)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--keep", type=Path, metavar="FOLDER")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        year = Year(Path(folder), sqlite_url(given.keep or Path(folder), given.records))
        asyncio.run(_filled(year.url, given.records))
        floor = min(year.seconds(FLOOR) for _ in range(given.rounds))
        every = GOAL_SECONDS if given.records <= GOAL_UP_TO else None
        lines = [_line(year, command, floor, given.rounds, _GOALS.get(command, every)) for command in COMMANDS]
        code = show(f"30 days of a year of {given.records:,} records", lines, "imports alone")
        return max(code, _compared(year))


class Year:
    """A ledger with a year's traffic, a folder beside it, and the period that is asked about."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_TOKENS_")}
        mine = {"DATABASE_URL": url, "SPOOL_DIR": str(folder / "spool")}
        self.environment = clean | {f"LIVEKIT_TOKENS_{name}": value for name, value in mine.items()}
        # Not on a bucket's edge: the partial edges of a period are part of the question.
        until = to_datetime(END)
        since = until - timedelta(days=30)
        self.period = ("--since", f"{since:%Y-%m-%dT%H:%M:%SZ}", "--until", f"{until:%Y-%m-%dT%H:%M:%SZ}")

    def run(self, *words: str) -> str:
        command = [sys.executable, "-m", "livekit_tokens", *words]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def seconds(self, words: Sequence[str]) -> float:
        before = _children_seconds()
        subprocess.run([sys.executable, *words], env=self.environment, check=True, stdout=subprocess.DEVNULL)
        return _children_seconds() - before


async def _filled(url: str, records: int) -> None:
    ledger = StoreLedger(url, pricing=PriceBook().price, clock=lambda: END)
    connection = await ledger.connect()
    await filled(connection, records, time.perf_counter)
    await connection.aclose()
    await ledger.aclose()


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _line(year: Year, command: str, floor: float, rounds: int, goal: float | None) -> Line:
    words = ("-m", "livekit_tokens", *command.split(), *year.period)
    return Line(command, min(year.seconds(words) for _ in range(rounds)), "s", goal=goal, reference=floor)


def _compared(year: Year) -> int:
    """The same totals from everywhere, beside a sum that none of our code has made."""
    file = year.folder / "export.csv"
    year.run("export", "--csv", str(file), *year.period)
    count, cost, tokens = _summed(file)
    report = json.loads(year.run("report", "--json", *year.period))["totals"]
    users = list(csv.DictReader(year.run("report", "--by", "user", "--csv", *year.period).splitlines()))
    text, page = (year.run("report", *more, *year.period) for more in ((), ("--html", "-")))
    told = {
        "plain sum over the export": (cost, tokens),
        "JSON": (Decimal(report["cost_usd"]), report["total_tokens"]),
        "CSV by user": (sum(Decimal(u["cost_usd"]) for u in users), sum(int(u["total_tokens"]) for u in users)),
    }
    print(f"\n{count:,} records")
    for name, (dollars, counted) in told.items():
        print(f"{name:<28} ${dollars:,.9f}  {counted:,} tokens")
    shown = {"text": f"Total Cost: ${cost:,.6f}" in text, "HTML": f"${cost:,.6f}" in page and f"{tokens:,}" in page}
    for name, same in shown.items():
        print(f"{name:<28} {'the same, as far as it is shown' if same else 'DIFFERENT'}")
    return 0 if len(set(told.values())) == 1 and all(shown.values()) else MISSED


def _summed(file: Path) -> tuple[int, Decimal, int]:
    """How many records an export has, what they cost together, and their tokens."""
    count, cost, tokens = 0, Decimal(), 0
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            count, tokens = count + 1, tokens + int(row["total_tokens"])
            cost += Decimal(row["total_cost"] or 0)
    return count, cost, tokens


if __name__ == "__main__":
    sys.exit(main())
