"""A disk that takes only part of a line: RLIMIT_FSIZE cuts the writes, then the limit is lifted."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.soak.audit import audit
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.worlds import Worlds
from tests.soak.writer import Writing, write_with_short_writes


def short_writes(worlds: Worlds, result: Result, runs: int, seed: int, say: Callable[[str], None]) -> None:
    """A run: 60 lines cut at every kind of place, all written again; then the writer is killed and taken over."""
    rng = random.Random(seed)
    for run in range(runs):
        with worlds.new() as world:
            gather_s = rng.choice((0.01, 0.2))
            writing = Writing(world, rng.getrandbits(32), segment_bytes=rng.choice((4_000, 50_000)), gather_s=gather_s)
            writer = Victim(write_with_short_writes, writing, 60)
            writer.wait_for("cut", within=30)
            told = writer.kill()
            recover(world, result, rng)
            audit(world, told, result, runs=1)
        say(f"{run + 1} of {runs} writers")
