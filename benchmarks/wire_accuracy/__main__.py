"""How far what the wire counts is from the provider's bill.

    python -m benchmarks.wire_accuracy [--seed 1] [--cuts 80] [--accounts 16]

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
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.wire_accuracy import talking  # noqa: F401 - more kinds
from benchmarks.wire_accuracy.holding import Account, Kind, Pair, hold
from benchmarks.wire_accuracy.kinds import FIGURES_FOLLOW, KINDS, NO_SIGN, TIMES, WHOLE
from benchmarks.wire_accuracy.provider import Ways, sentences_of
from livekit_tokens.capture.wire import watch
from livekit_tokens.core import faults, vocabulary
from livekit_tokens.domain.units import TOKENS, total
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices.book import PriceBook

COST_GOAL, INSIDE_GOAL, FEWEST = 0.03, 0.90, 50
"""Of each kind that is cut: how far off in cost, how many figures within their bounds, by how many estimates."""
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
    costs: list[tuple[int, int]] = field(default_factory=list)
    """Billed and ours, request by request."""

    @property
    def standard_error(self) -> float:
        """Of the cost error, which is a ratio of two sums over requests that were drawn independently."""
        count, ratio = len(self.costs), 1 + self.cost_error
        if count < 2 or not self.billed_cost:
            return 0.0
        squares = sum((ours - ratio * billed) ** 2 for billed, ours in self.costs)
        return math.sqrt(squares * count / (count - 1)) / self.billed_cost

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
    ours = 0 if record is None else _cost(book, billed.model, record.units)
    row.costs.append((cost, ours))
    if record is None:
        row.missed += 1
        return
    row.ours += total(record.units, TOKENS)
    row.our_cost += ours
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
    head = ("kind", "requests", "billed", "ours", "off cost", "std error", "estimated", "they alone", "inside")
    lines, met = [head], True
    for kind in [*KINDS, NO_SIGN]:
        row = rows.get(kind, Row())
        good = kind == NO_SIGN or _is_good(kind, row)
        met = met and good
        lines.append(
            (
                kind if good else f"{kind} (MISSED)",
                f"{row.requests}",
                f"{row.billed:,}",
                f"{row.ours:,}",
                f"{row.cost_error:+.2%}",
                f"{row.standard_error:.2%}",
                f"{row.estimated}",
                f"{row.estimates_error:+.2%}" if row.estimated else "-",
                f"{row.share_inside:.0%}" if row.figures else "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\nAccuracy on the wire, seed {seed}: tokens and cost against the provider's bill")
    for line in lines:
        print("  ".join(cell.ljust(widths[0]) if n == 0 else cell.rjust(widths[n]) for n, cell in enumerate(line)))
    unseen = rows.get(NO_SIGN, Row()).missed
    missed = sum(row.missed for row in rows.values()) - unseen
    print(f"billed and not recorded: {missed} (goal 0), and {unseen} more that were cut before any sign of them had")
    print("reached the client (no sign)")
    for name, goal in {"unbilled": "recorded and not billed", "wrong": "reported and not as billed"}.items():
        print(f"{goal}: {sum(getattr(row, name) for row in rows.values())} (goal 0)")
    print(f"cut and not marked as estimated: {sum(row.unmarked for row in rows.values())} (goal 0)")
    goal = f"within {COST_GOAL:.0%} in cost, {INSIDE_GOAL:.0%} inside [low, high], by {FEWEST} estimates or more"
    print(f"each kind that is cut or brings no figures {goal}: {'met' if met else 'MISSED'}")
    return met


def _is_good(kind: str, row: Row) -> bool:
    if row.missed or row.unbilled or row.wrong or row.unmarked:
        return False
    if kind in WHOLE:
        return True
    enough = row.estimated >= FEWEST or kind in FIGURES_FOLLOW
    return enough and abs(row.cost_error) <= COST_GOAL and row.share_inside >= INSIDE_GOAL


def say_odd(accounts: Iterable[Account]) -> bool:
    """What did not come to its end: a broken stream must break, all else is a fault of somebody's."""
    odd = Counter(str(odd) for account in accounts for odd in account.odd)
    meant = {name: odd.pop(name) for name in list(odd) if name.startswith("chat broken (API")}
    print(f"broken as they should: {sum(meant.values())}; other requests that came to no end: {dict(odd) or 'none'}")
    return not odd


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


async def run(seed: int, cuts: int, accounts: int, folder: Path) -> list[Account]:
    sentences = list(sentences_of(TEXT.read_text()))
    chance = random.Random(seed)
    ways = Ways.drawn(chance)
    print(f"seed {seed}, unknown to the estimators: {ways}")
    each = [kind for kind in KINDS for _ in range(math.ceil(cuts * TIMES.get(kind, 1) / accounts))]
    done = Progress((len(each) + len(WHOLE)) * accounts)

    def order() -> list[tuple[str, Kind]]:
        return [(kind, KINDS[kind]) for kind in (*WHOLE, *chance.sample(each, len(each)))]

    held = (hold(ways, seed * 1000 + n, order(), sentences, folder, done=done) for n in range(accounts))
    return await asyncio.gather(*map(asyncio.create_task, held))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=80)
    parser.add_argument("--accounts", type=int, default=16)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # LiveKit says much of sockets that break
    vocabulary.load()
    watch.install()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        accounts = asyncio.run(run(given.seed, given.cuts, given.accounts, Path(folder)))
    met = show(summed((pair for account in accounts for pair in account.pairs), PriceBook()), given.seed)
    met = say_odd(accounts) and met
    print(f"faults of ours: {faults.counts() or 'none'}; took {time.monotonic() - began:.0f} s")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
