"""How far what is counted is from the provider's bill.

    make bench-accuracy SEED=1            # python -m benchmarks.accuracy --seed 1 [--cuts 300] [--at-once 10]

Real AgentSessions hold calls against the stand-in provider, which keeps its own bill, and are cut at random: about
`--cuts` times in each way. Network, pace, bursts, lateness, framing, tools, cache and context trimming are drawn from
the seed (`draws.py`) and are unknown to the estimator. What was recorded is drained from the real spools into a real
ledger; a killed process is a recorder that writes no more, whose spool is taken over. Costs by the price book.
Exit code: 0 if all goals are met, 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy import comparing, time_lapse
from benchmarks.accuracy.comparing import Charged, Pair, Recorded, Row
from benchmarks.accuracy.draws import CUTS, Script, scripts
from benchmarks.accuracy.holding import Outcome, hold
from livekit_tokens.core import vocabulary
from livekit_tokens.core.takeover import take_over
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.units import TOKENS
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices.book import PriceBook
from livekit_tokens.store.connection import StoreLedger

COST_GOAL, INSIDE_GOAL = 0.03, 0.90
OPERATIONS = {"realtime_response": "realtime_response", "transcription": "transcription"}


def run(seed: int, cuts: int, at_once: int, folder: Path) -> list[Pair]:
    """Hold all calls of a seed; each entry of the bill with our record of it."""
    spools = folder / "spools"
    spools.mkdir()
    outcomes = time_lapse.run(hold_all(seed, cuts, at_once, spools))
    asyncio.run(bring_home(spools, folder / "ledger.db"))
    records = read_records(folder / "ledger.db")
    pairs: list[Pair] = []
    for outcome in outcomes:
        found, strangers = comparing.paired(charged(outcome), records.get(outcome.source, []))
        pairs += found
        pairs += [
            (Charged("nobody billed", "", record.operation, "gpt-realtime", {}, 0), record) for record in strangers
        ]
    return pairs


async def hold_all(seed: int, cuts: int, at_once: int, spools: Path) -> list[Outcome]:
    turn = asyncio.Semaphore(at_once)

    async def one(script: Script) -> Outcome:
        async with turn:
            return await hold(script, spools, seed)

    return await asyncio.gather(*(one(script) for script in scripts(seed, cuts)))


async def bring_home(spools: Path, database: Path) -> None:
    """As the next process on the host does."""
    ledger = StoreLedger(f"sqlite:///{database}")
    await take_over([spools], ledger)
    await ledger.aclose()


def charged(outcome: Outcome) -> list[Charged]:
    return [
        Charged(
            kind if entry.kind == "realtime_response" else "transcription" if entry.id in outcome.heard else "no sign",
            entry.id,
            OPERATIONS[entry.kind],
            entry.model,
            entry.units,
            outcome.livekit.get(entry.id, 0),
        )
        for kind, entry in outcome.bill
    ]


def read_records(path: Path) -> dict[str, list[Recorded]]:
    """Every record of the ledger, by its source."""
    sql = """select source, request_id, operation, provenance, units, low, high
             from records join parts on parts.key = records.part order by seq"""
    found: dict[str, list[Recorded]] = {}
    with sqlite3.connect(path) as database:
        for source, request_id, operation, provenance, *units in database.execute(sql):
            read = (json.loads(text) if text else {} for text in units)
            found.setdefault(source, []).append(Recorded(request_id, operation, provenance, *(u or {} for u in read)))
    return found


def priced() -> comparing.Cost:
    book = PriceBook()

    def cost(model: str, units: comparing.Units) -> int:
        record = UsageRecord("0" * 32, time.time_ns() // 1000, "agent", "openai", model, "bench", dict(units))
        price: Price = book.price(record)
        return price.total or 0

    return cost


def show(rows: dict[str, Row], seed: int) -> bool:
    head = (
        "kind",
        "requests",
        "billed",
        "LiveKit",
        "ours",
        "off tokens",
        "off cost",
        "estimated",
        "inside",
        "cost inside",
        "width",
    )
    lines = [head]
    met = True
    for kind in ("whole", *CUTS, "no sign", "transcription", "nobody billed"):
        if (row := rows.get(kind)) is None:
            continue
        lines.append(
            (
                kind,
                f"{row.requests}",
                f"{row.billed:,}",
                f"{row.livekit:,}" if kind != "transcription" else "-",
                f"{row.ours:,}",
                f"{row.token_error:+.2%}",
                _with_spread(row),
                f"{row.estimated / row.requests:.0%}",
                f"{row.inside:.0%}" if row.figures else "-",
                f"{row.costs_inside / row.estimated:.0%}" if row.estimated else "-",
                f"{row.width:.0%}" if row.widths else "-",
            )
        )
        good = not ((row.missed and kind != "no sign") or row.wrong_reported or row.unmarked)
        if kind in CUTS:
            good = good and abs(row.cost_error) <= COST_GOAL and row.inside >= INSIDE_GOAL
        met = met and good
    print(f"\nAccuracy, seed {seed}: tokens and cost against the provider's bill")
    _print(lines)
    print(f"\nreported and not as billed: {sum(row.wrong_reported for row in rows.values())} (goal 0)")
    print(f"cut and not marked as estimated: {sum(row.unmarked for row in rows.values())} (goal 0)")
    missed = sum(row.missed for kind, row in rows.items() if kind != "no sign")
    print(
        f"billed and not recorded: {missed} (goal 0), and {rows['no sign'].missed if 'no sign' in rows else 0} more "
        "that were cut before any sign of them had reached the client (no sign)"
    )
    print(
        f"cut kinds within {COST_GOAL:.0%} in cost, {INSIDE_GOAL:.0%} inside [low, high]: {'met' if met else 'MISSED'}"
    )
    return met


def _print(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(widths[0]) if n == 0 else cell.rjust(widths[n]) for n, cell in enumerate(line)))


def _with_spread(row: Row) -> str:
    """How far off it is in cost, and by how much that varies by chance (standard error)."""
    return f"{row.cost_error:+.2%} ± {100 * row.cost_spread:.1f}" if row.cost_spread else f"{row.cost_error:+.2%}"


def estimates_alone(pairs: Sequence[Pair], cost: comparing.Cost) -> None:
    """What the estimates by themselves are worth, without the reported requests of the same kind, and which units their
    error is of."""
    print("\nThe estimated requests alone: how far off in cost, and by how much of it in")
    units = [unit for unit in TOKENS if any(unit in entry.units for entry, _ in pairs)]
    lines = [("", "requests", "cost", *(unit.replace("_", " ") for unit in units))]
    for kind in CUTS:
        own = [
            (entry, record)
            for entry, record in pairs
            if entry.kind == kind and record and record.provenance == "estimated"
        ]
        if own:
            row = comparing.summed(own, cost)[kind]
            by_unit = (f"{comparing.cost_error_of(unit, own, cost):+.2%}" for unit in units)
            lines.append((kind, f"{row.requests}", _with_spread(row), *by_unit))
    _print(lines)
    for unit, (all_, outside) in sorted(comparing.figures_outside(pairs).items()):
        print(f"  {unit:20} {all_:4} figures, {outside} outside")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--dump", type=Path)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # LiveKit says much of sockets that break
    vocabulary.load()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        pairs = run(given.seed, given.cuts, given.at_once, Path(folder))
    cost = priced()
    met = show(comparing.summed(pairs, cost), given.seed)
    estimates_alone(pairs, cost)
    print(f"took {time.monotonic() - began:.0f} s")
    if given.dump:
        given.dump.write_text(json.dumps(comparing.to_json(pairs), indent=1), encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
