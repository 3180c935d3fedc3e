"""The wall clock jumps while calls go on: back an hour, forward a day. Durations and order do not depend on it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.soak.audit import Ledgered, audit
from tests.soak.jumps import BACK_AN_HOUR, FORWARD_A_DAY
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.told import Told
from tests.soak.worlds import Worlds
from tests.soak.writer import Writing, write

JUMPS_S = {"back an hour": BACK_AN_HOUR, "forward a day": FORWARD_A_DAY}
_WRITERS = 2

Say = Callable[[str], None]


def clock_jumps(worlds: Worlds, result: Result, runs: int, seed: int, say: Say) -> None:
    """A run a jump: writers whose clock jumps in the middle, twice; one of them is killed after it."""
    rng = random.Random(seed)
    for _ in range(runs):
        for name, jump_s in JUMPS_S.items():
            with worlds.new() as world:
                told = _write_through(rng, jump_s, [_writing(world, rng) for _ in range(_WRITERS)])
                recover(world, result, rng)
                _look_at_times(audit(world, told, result, runs=1), result)
            say(name)
    result.notes.append(f"{', '.join(JUMPS_S)}: time.time() and the recorder's clock of the writing processes")


def _writing(world, rng: random.Random) -> Writing:
    return Writing(world, rng.getrandbits(32), segment_bytes=20_000, gather_s=0.05, pause_s=0.01, ends_s=0.5)


def _write_through(rng: random.Random, jump_s: int, writings: list[Writing]) -> Told:
    told = Told()
    writers = [Victim(write, writing) for writing in writings]
    for writer in writers:
        writer.wait_for("writing")
    for jump in (jump_s, jump_s):
        time.sleep(0.4)
        for writer in writers:
            writer.jump(jump)
    time.sleep(0.4 + 0.3 * rng.random())
    writers[0].stop()
    told.add(writers[1].kill())
    told.add(writers[0].end(90))
    return told


def _look_at_times(found: Ledgered, result: Result) -> None:
    if backwards := [
        part for part in found.parts if part["ended_at"] is not None and part["ended_at"] < part["started_at"]
    ]:
        result.faults.append(f"{len(backwards)} calls ended before they began")
