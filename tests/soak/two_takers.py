"""Two takers at one spool at the same time: by the rules, and as if there were no locks at all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from tests.soak.audit import audit
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.taker import Taking, drain_without_locks, take
from tests.soak.told import Told
from tests.soak.worlds import World, Worlds
from tests.soak.writer import Writing, write


def two_takers(
    worlds: Worlds, result: Result, runs: int, seed: int, say: Callable[[str], None], kind: str = "sqlite"
) -> None:
    """A run: some writers die, then two processes bring their spools home at once."""
    rng = random.Random(seed)
    for run in range(runs):
        with worlds.new(kind) as world:
            told = _dead_writers(world, rng)
            told.add(_both_take(world, without_locks=bool(run % 2)))
            recover(world, result, rng)
            audit(world, told, result, runs=1)
        say(f"{run + 1} of {runs} pairs")
    result.notes.append("every second pair drains without any lock: only the checkpoint's compare-and-set is between")


def _dead_writers(world: World, rng: random.Random) -> Told:
    """Writers that could hardly drain: their background waits long before it begins."""
    told = Told()
    writers = [Victim(write, Writing(world, rng.getrandbits(32), gather_s=rng.choice((0.2, 30)))) for _ in range(2)]
    for writer in writers:
        writer.wait_for("writing")
        time.sleep(rng.uniform(0.1, 0.5))
        told.add(writer.kill())
    return told


def _both_take(world: World, *, without_locks: bool) -> Told:
    told = Told()
    work: tuple[Callable[..., None], Any] = (take, Taking(world, times=10))
    if without_locks:
        work = (drain_without_locks, world)
    for taker in [Victim(*work), Victim(*work)]:
        told.add(taker.end(60))
    return told
