"""A process forks while it brings dead ones' spools home, and is killed; its children live on."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any, NoReturn

from livekit_tokens.core import remains, takeover
from tests.soak.audit import audit
from tests.soak.orphans import dead
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.taker import Taking, take
from tests.soak.told import Teller
from tests.soak.worlds import World, Worlds

SPOOLS = 6
LIVE_S = 60.0

Say = Callable[[str], None]


def forking_takers(worlds: Worlds, result: Result, runs: int, seed: int, say: Say) -> None:
    """A run: some spools are orphaned; a taker forks in the middle of one, and is killed. The child must not keep the
    others from them.
    """
    rng = random.Random(seed)
    for run in range(runs):
        with worlds.new() as world:
            told = dead(world, SPOOLS, rng)
            taker = Victim(take_and_fork, Taking(world), rng.randint(1, SPOOLS))
            taker.wait_for("forked")
            time.sleep(rng.uniform(0, 0.02))
            told.add(taker.kill())
            recover(world, result, rng)
            audit(world, told, result, runs=1)
        say(f"{run + 1} of {runs} forks")


def take_and_fork(teller: Teller, taking: Taking, at: int) -> None:
    """A child's work: take over, and fork when the missing end of the `at`th spool is about to be read."""
    read, begun = takeover.read_remains, 0

    async def forking(*given: Any) -> remains.Remains:
        nonlocal begun
        begun += 1
        if begun == at:
            if os.fork() == 0:
                teller.close()
                _live_on(taking.world)
            teller.moment("forked")
        return await read(*given)

    takeover.read_remains = forking
    take(teller, taking)
    time.sleep(LIVE_S)


def _live_on(world: World) -> NoReturn:
    """As long as its world."""
    until = time.monotonic() + LIVE_S
    while world.folder.exists() and time.monotonic() < until:
        time.sleep(0.05)
    os._exit(0)
