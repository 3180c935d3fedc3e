"""Our records beside the provider's bill, request by request. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from statistics import median
from typing import Any

from livekit_tokens.domain.units import TOKENS, total

Units = Mapping[str, int]
NO_SIGN = "no sign"
"""Cut before any sign of it had reached the client."""

Cost = Callable[[str, Units], int]
"""Nano-dollars of a model's units."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One of our records, as it stands in the ledger."""

    request_id: str | None
    operation: str
    provenance: str
    units: Units
    low: Units
    high: Units


@dataclass(frozen=True, slots=True)
class Charged:
    """One entry of the provider's bill, and what LiveKit told of it (tokens)."""

    kind: str
    id: str
    operation: str
    model: str
    units: Units
    livekit: int


Pair = tuple[Charged, Recorded | None]


@dataclass(slots=True)
class Row:
    """What all requests of one kind come to."""

    kind: str
    requests: int = 0
    missed: int = 0
    billed: int = 0
    livekit: int = 0
    ours: int = 0
    costs: list[tuple[int, int]] = field(default_factory=list)
    estimated: int = 0
    wrong_reported: int = 0
    unmarked: int = 0
    figures: int = 0
    figures_inside: int = 0
    costs_inside: int = 0
    widths: list[float] = field(default_factory=list)

    @property
    def cost_error(self) -> float:
        return self._cost_ratio - 1

    @property
    def cost_spread(self) -> float:
        """The standard error of `cost_error`: how far off it would be by chance, had these requests been others.

        That of a ratio of sums over independent requests (Cochran, Sampling Techniques, 2.11).
        """
        billed, count = sum(billed for billed, _ in self.costs), len(self.costs)
        if not billed or count < 2:
            return 0.0
        squares = sum((ours - self._cost_ratio * billed) ** 2 for billed, ours in self.costs)
        return sqrt(squares * count / (count - 1)) / billed

    @property
    def _cost_ratio(self) -> float:
        billed = sum(billed for billed, _ in self.costs)
        return sum(ours for _, ours in self.costs) / billed if billed else 1.0

    @property
    def token_error(self) -> float:
        return self.ours / self.billed - 1 if self.billed else 0.0

    @property
    def inside(self) -> float:
        return self.figures_inside / self.figures if self.figures else 1.0

    @property
    def width(self) -> float:
        return median(self.widths) if self.widths else 0.0


def paired(charged: Iterable[Charged], records: Iterable[Recorded]) -> tuple[list[Pair], list[Recorded]]:
    """Each entry of one call's bill with our record of it, and our records that nobody billed.

    By the provider's id; a response that was never announced has none with us, and is found by what is left over. What
    had given no sign comes last: it cannot have been recorded where another one may have been.
    """
    by_id: dict[tuple[str, str | None], list[Recorded]] = defaultdict(list)
    for record in records:
        by_id[record.operation, record.request_id].append(record)
    entries = list(charged)
    found = {n: same.pop(0) for n, entry in enumerate(entries) if (same := by_id.get((entry.operation, entry.id)))}
    for n, entry in sorted(enumerate(entries), key=lambda numbered: numbered[1].kind == NO_SIGN):
        if n not in found and (nameless := by_id.get((entry.operation, None))):
            found[n] = nameless.pop(0)
    pairs = [(entry, found.get(n)) for n, entry in enumerate(entries)]
    return pairs, [record for left in by_id.values() for record in left]


def summed(pairs: Iterable[Pair], cost: Cost) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for entry, record in pairs:
        _add(rows.setdefault(entry.kind, Row(entry.kind)), entry, record, cost)
    return rows


def _add(row: Row, entry: Charged, record: Recorded | None, cost: Cost) -> None:
    row.requests += 1
    row.billed += total(entry.units, TOKENS)
    row.livekit += entry.livekit
    billed = cost(entry.model, entry.units)
    row.costs.append((billed, 0 if record is None else cost(entry.model, record.units)))
    if record is None:
        row.missed += 1
        return
    row.ours += total(record.units, TOKENS)
    if record.provenance == "reported":
        row.wrong_reported += dict(record.units) != dict(entry.units)
        return
    row.estimated += 1
    row.unmarked += record.provenance != "estimated"
    for unit in {*entry.units, *record.units}:
        row.figures += 1
        row.figures_inside += record.low.get(unit, 0) <= entry.units.get(unit, 0) <= record.high.get(unit, 0)
    low, high = cost(entry.model, record.low), cost(entry.model, record.high)
    row.costs_inside += low <= billed <= high
    if billed:
        row.widths.append((high - low) / billed)


def cost_error_of(unit: str, pairs: Iterable[Pair], cost: Cost) -> float:
    """How much of the cost's error is this unit's, against the whole bill."""
    off = billed = 0
    for entry, record in pairs:
        ours = 0 if record is None else record.units.get(unit, 0)
        off += cost(entry.model, {unit: ours}) - cost(entry.model, {unit: entry.units.get(unit, 0)})
        billed += cost(entry.model, entry.units)
    return off / billed if billed else 0.0


def figures_outside(pairs: Iterable[Pair]) -> dict[str, tuple[int, int]]:
    """By unit: how many figures of estimates there are, and how many lie outside their bounds."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for entry, record in pairs:
        if record is None or record.provenance != "estimated":
            continue
        for unit in {*entry.units, *record.units}:
            counts[unit][0] += 1
            counts[unit][1] += not record.low.get(unit, 0) <= entry.units.get(unit, 0) <= record.high.get(unit, 0)
    return {unit: (all_, outside) for unit, (all_, outside) in counts.items()}


def to_json(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Every pair, for looking into one."""
    return [
        {
            "kind": entry.kind,
            "id": entry.id,
            "billed": dict(entry.units),
            "ours": None if record is None else dict(record.units),
            "provenance": None if record is None else record.provenance,
            "low": None if record is None else dict(record.low),
            "high": None if record is None else dict(record.high),
        }
        for entry, record in pairs
    ]
