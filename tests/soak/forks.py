"""A process that tracks calls forks in the middle of it; the children track calls of their own, and end in any way."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

from tests.soak.audit import audit
from tests.soak.load import Load
from tests.soak.own_runtime import runtime_in
from tests.soak.processes import Victim, die_with_parent
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.told import Teller
from tests.soak.worlds import World, Worlds

_STEPS = 15


def forked(worlds: Worlds, result: Result, forks: int, seed: int, say: Callable[[str], None]) -> None:
    """One process that forks so often, at any moment of its writing."""
    rng = random.Random(seed)
    with worlds.new() as world:
        told = Victim(write_and_fork, world, rng.getrandbits(32), forks).end(30 + forks)
        say("all have ended")
        recover(world, result, rng)
        found = audit(world, told, result, runs=forks)
    sources = len(found.sources)
    result.notes.append(
        f"{forks} forks; {sources} sources in the ledger; children ended, were killed, or forgot to end"
    )
    if sources < 2:
        result.faults.append("no child had a source of its own")


def write_and_fork(teller: Teller, world: World, seed: int, forks: int) -> None:
    """A child's work."""
    rng = random.Random(seed)
    own = runtime_in(world)
    load = Load(own.recorder, teller, seed, 0.01)
    for _ in range(forks):
        for _ in range(rng.randint(1, _STEPS)):
            load.step()
        child = os.fork()
        if child == 0:
            _be_a_child(teller, world, rng.getrandbits(32))
        for _ in range(rng.randint(0, 3)):
            load.step()
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
            teller.said(fault=f"a forked child ended with {os.waitstatus_to_exitcode(status)}")
    load.end()
    own.recorder.sync()
    own.background.flush_blocking(20)


def _be_a_child(teller: Teller, world: World, seed: int) -> None:
    die_with_parent()
    own = runtime_in(world)
    load = Load(own.recorder, teller, seed, 0.001)
    for _ in range(_STEPS):
        load.step()
    match seed % 3:
        case 0:
            os.kill(os.getpid(), signal.SIGKILL)
        case 1:
            load.end()
            own.background.flush_blocking(5)
    os._exit(0)
