"""A call of a simulated day and one of a second: nothing grows with a call's length, and both are counted whole."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.soak.audit import Ledgered, audit
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.worlds import Worlds
from tests.soak.writer import Writing, hold_calls

DAY_S, QUARTER_S = 86_400, 900
_MOST_KEPT = 0.2
"""The share of a day's spool that may be left at its end: the replay window is an hour."""


def long_and_short_calls(worlds: Worlds, result: Result, every_s: int, seed: int, say: Callable[[str], None]) -> None:
    """In the long call a record comes every so many seconds."""
    rng = random.Random(seed)
    with worlds.new() as world:
        writing = Writing(world, rng.getrandbits(32), segment_bytes=50_000)
        told = Victim(hold_calls, writing, ((DAY_S, every_s), (1, 1))).end(120)
        say("both calls are over")
        recover(world, result, rng)
        found = audit(world, told, result, runs=2)
    _look_at_lengths(found, result)
    for said in told.said:
        if "kept" in said:
            result.notes.append(
                f"{said['written']:,} bytes of spool were written, {said['kept']:,} were left at the end"
            )
            if said["kept"] > _MOST_KEPT * said["written"]:
                result.faults.append("the spool of a long call is not given back")


def _look_at_lengths(found: Ledgered, result: Result) -> None:
    lengths = sorted((part["ended_at"] - part["started_at"]) / 1e6 for part in found.parts)
    result.notes.append(f"parts of {', '.join(f'{length:,.1f} s' for length in lengths)}")
    if abs(lengths[0] - 1) > 1 or abs(lengths[-1] - DAY_S) > 60:
        result.faults.append(f"the calls' lengths are {lengths}")
    if (quarters := len({row["bucket"] for row in found.sums})) < DAY_S // QUARTER_S:
        result.faults.append(f"only {quarters} quarters of an hour have sums")
