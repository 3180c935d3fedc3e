"""How far what the wire counts is from the provider's bill.

    python -m benchmarks.wire_accuracy [--seed 1] [--cuts 60] [--accounts 12]

Real clients (LiveKit's components, the openai SDK) ask a stand-in provider that keeps its own bill, and are cut at
random: at least `--cuts` times in each way. Distance, pace, framing, tools and cache are drawn from the seed and
unknown to the estimators. Costs by the price book. Exit code: 0 if all goals are met, 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wire_accuracy import talking  # noqa: F401 - more kinds
from benchmarks.wire_accuracy.holding import KINDS, WHOLE, Pair, hold
from benchmarks.wire_accuracy.provider import Ways, sentences_of
from livekit_tokens.capture.wire import watch
from livekit_tokens.core import faults, vocabulary
from livekit_tokens.domain.units import TOKENS, total
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices.book import PriceBook

COST_GOAL, INSIDE_GOAL = 0.03, 0.90
SAY_SECONDS = 20
TEXT = Path(__file__).parents[2] / "LICENSE"


@dataclass(slots=True)
class Row:
    """What all requests of one kind come to."""

    requests: int = 0
    missed: int = 0
    unbilled: int = 0
    wrong: int = 0
    unmarked: int = 0
    estimated: int = 0
    billed: int = 0
    ours: int = 0
    billed_cost: int = 0
    our_cost: int = 0
    estimated_cost: int = 0
    estimates_billed: int = 0
    figures: int = 0
    inside: int = 0

    @property
    def cost_error(self) -> float:
        return self.our_cost / self.billed_cost - 1 if self.billed_cost else 0.0

    @property
    def estimates_error(self) -> float:
        """Of the estimated requests alone: some had come to their end before they were cut."""
        return self.estimated_cost / self.estimates_billed - 1 if self.estimates_billed else 0.0

    @property
    def share_inside(self) -> float:
        return self.inside / self.figures if self.figures else 1.0


def summed(pairs: Iterable[Pair], book: PriceBook) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for pair in pairs:
        _add(rows.setdefault(pair.kind, Row()), pair, book)
    return rows


def _add(row: Row, pair: Pair, book: PriceBook) -> None:
    billed, record = pair.billed, pair.record
    if billed is None:
        row.unbilled += 1
        return
    row.requests += 1
    row.billed += total(billed.units, TOKENS)
    row.billed_cost += (cost := _cost(book, billed.model, billed.units))
    if record is None:
        row.missed += 1
        return
    row.ours += total(record.units, TOKENS)
    row.our_cost += (ours := _cost(book, billed.model, record.units))
    if record.provenance == "reported":
        row.wrong += dict(record.units) != billed.units
        return
    row.estimated += 1
    row.estimated_cost += ours
    row.estimates_billed += cost
    row.unmarked += record.provenance != "estimated"
    low, high = record.low or {}, record.high or {}
    for unit in {*billed.units, *record.units}:
        row.figures += 1
        row.inside += low.get(unit, 0) <= billed.units.get(unit, 0) <= high.get(unit, 0)


def _cost(book: PriceBook, model: str, units: dict[str, int]) -> int:
    name = model.rpartition("/")[2]
    made = UsageRecord("0" * 32, time.time_ns() // 1000, "agent", "openai", name, "bench", dict(units))
    return book.price(made).total or 0


def show(rows: dict[str, Row], seed: int) -> bool:
    head = ("kind", "requests", "billed", "ours", "off cost", "estimated", "they alone", "inside")
    lines, met = [head], True
    for kind in KINDS:
        row = rows[kind]
        lines.append(
            (
                kind,
                f"{row.requests}",
                f"{row.billed:,}",
                f"{row.ours:,}",
                f"{row.cost_error:+.2%}",
                f"{row.estimated / row.requests:.0%}",
                f"{row.estimates_error:+.2%}" if row.estimated else "-",
                f"{row.share_inside:.0%}" if row.figures else "-",
            )
        )
        good = not (row.missed or row.unbilled or row.wrong or row.unmarked)
        if kind not in WHOLE:
            good = good and abs(row.cost_error) <= COST_GOAL and row.share_inside >= INSIDE_GOAL
        if not good:
            lines[-1] = (f"{kind} (MISSED)", *lines[-1][1:])
        met = met and good
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\nAccuracy on the wire, seed {seed}: tokens and cost against the provider's bill")
    for line in lines:
        print("  ".join(cell.ljust(widths[0]) if n == 0 else cell.rjust(widths[n]) for n, cell in enumerate(line)))
    goals = {"missed": "billed and not recorded", "unbilled": "recorded and not billed"}
    for name, goal in (goals | {"wrong": "reported and not as billed"}).items():
        print(f"{goal}: {sum(getattr(row, name) for row in rows.values())} (goal 0)")
    print(f"cut and not marked as estimated: {sum(row.unmarked for row in rows.values())} (goal 0)")
    goal = f"within {COST_GOAL:.0%} in cost, {INSIDE_GOAL:.0%} inside [low, high]"
    print(f"each kind that is cut or brings no figures {goal}: {'met' if met else 'MISSED'}")
    return met


class Progress:
    """Says every 20 seconds how far it has come, where nobody reads the tables."""

    def __init__(self, of: int) -> None:
        self._of = of
        self._done = 0
        self._said = time.monotonic()

    def __call__(self) -> None:
        self._done += 1
        if time.monotonic() - self._said > SAY_SECONDS:
            self._said = time.monotonic()
            print(f"... {self._done:,} of {self._of:,} requests", file=sys.stderr, flush=True)


async def run(seed: int, cuts: int, accounts: int, folder: Path) -> list[Pair]:
    sentences = list(sentences_of(TEXT.read_text()))
    ways = Ways.drawn(random.Random(seed))
    print(f"seed {seed}, unknown to the estimators: {ways}")
    each = math.ceil(cuts / accounts)
    done = Progress((len(KINDS) * each + len(WHOLE)) * accounts)
    held = (hold(ways, seed * 1000 + n, [*KINDS] * each, sentences, folder, done=done) for n in range(accounts))
    return [pair for pairs in await asyncio.gather(*map(asyncio.create_task, held)) for pair in pairs]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=60)
    parser.add_argument("--accounts", type=int, default=12)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # LiveKit says much of sockets that break
    vocabulary.load()
    watch.install()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        pairs = asyncio.run(run(given.seed, given.cuts, given.accounts, Path(folder)))
    met = show(summed(pairs, PriceBook()), given.seed)
    print(f"faults of ours: {faults.counts() or 'none'}; took {time.monotonic() - began:.0f} s")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
