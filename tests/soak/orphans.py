"""Many orphaned spools at once, as after a host's power cut; and living processes that all want to bring them home."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from livekit_tokens.core import spool
from tests.soak.audit import audit
from tests.soak.database_faults import backup_of
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.taker import Taking, take
from tests.soak.told import Told
from tests.soak.worlds import World, Worlds
from tests.soak.writer import Writing, die_with_many, write

_A_PROCESS = 25
"""Sources that one killed process leaves: each has its own folder and lock, as if it had been a process of its own."""


def orphaned_spools(worlds: Worlds, result: Result, spools: int, seed: int, say: Callable[[str], None]) -> None:
    """`spools` sources die; then a living writer begins, and three takers come at the same time."""
    rng = random.Random(seed)
    with worlds.new() as world:
        told = dead(world, spools, rng)
        say(f"{spools} spools are orphaned")
        began = time.monotonic()
        writer = Victim(write, Writing(world, rng.getrandbits(32), records=200))
        takers = [Victim(take, Taking(world, times=3)) for _ in range(3)]
        told.add(writer.end(90))
        for taker in takers:
            told.add(taker.end(90))
        recover(world, result, rng)
        took = time.monotonic() - began
        audit(world, told, result, runs=1)
    result.notes.append(f"{spools} spools were home after {took:.1f} s, with three takers and a living writer at once")


def late_and_restored(worlds: Worlds, result: Result, spools: int, seed: int, say: Callable[[str], None]) -> None:
    """`spools` sources died long before the replay window; they are brought home, and then the ledger is restored to
    what it was before: they must come once more.
    """
    rng = random.Random(seed)
    with worlds.new() as world:
        # Somebody has made the ledger before.
        told = Victim(write, Writing(world, rng.getrandbits(32), records=50)).end(60)
        backup = backup_of(world)
        told.add(dead(world, spools, rng, ended=True))
        _age(world, 2 * spool.REPLAY_SECONDS)
        recover(world, result, rng)
        say("they are home")
        _put_back(world, backup)
        recover(world, result, rng)
        audit(world, told, result, runs=1)


def _age(world: World, seconds: float) -> None:
    at = time.time() - seconds
    for path in world.root.rglob("*.jsonl"):
        os.utime(path, (at, at))


def _put_back(world: World, backup: Path) -> None:
    for path in world.folder.glob(f"{world.database.name}-*"):
        path.unlink()
    backup.replace(world.database)


def dead(world: World, spools: int, rng: random.Random, *, ended: bool = False) -> Told:
    told = Told()
    for left in range(spools, 0, -_A_PROCESS):
        victim = Victim(die_with_many, Writing(world, rng.getrandbits(32)), min(_A_PROCESS, left), ended)
        victim.wait_for("all written", within=60)
        told.add(victim.kill())
    return told
