"""The host's own code blocks the event loop of the call: the ledger follows all the same, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from tests.soak.audit import audit, ledgered
from tests.soak.load import Load
from tests.soak.own_runtime import runtime_in
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.told import Teller
from tests.soak.worlds import World, Worlds

WAYS = ("sleeping", "computing")


def blocked_loop(worlds: Worlds, result: Result, seconds: int, seed: int, say: Callable[[str], None]) -> None:
    """Two calls whose loop is blocked for so long: by a call that waits, and by one that keeps the interpreter."""
    rng = random.Random(seed)
    for way in WAYS:
        with worlds.new() as world:
            caller = Victim(call_with_a_block, world, rng.getrandbits(32), way, seconds)
            caller.wait_for("blocked")
            say(f"{way} in the loop")
            time.sleep(seconds * 0.8)
            before = len(ledgered(world).records)
            told = caller.end(seconds + 60)
            recover(world, result, rng)
            audit(world, told, result, runs=1)
        (said,) = (said for said in told.said if "before" in said)
        if before < said["before"]:
            result.faults.append(f"{way}: {said['before'] - before} records did not follow while the loop was blocked")
        if not said["flushed"]:
            result.faults.append(f"{way}: the end of the call did not bring everything into the ledger")
    result.notes.append(f"blocked for {seconds} s each: {', '.join(WAYS)}")


def call_with_a_block(teller: Teller, world: World, seed: int, way: str, seconds: int) -> None:
    """A child's work."""
    asyncio.run(_call(teller, world, seed, way, seconds))


async def _call(teller: Teller, world: World, seed: int, way: str, seconds: int) -> None:
    own = runtime_in(world)
    load = Load(own.recorder, teller, seed, 0.0)
    await _talk(load)
    await own.flush(20)  # the ledger is made, and what that needs is imported
    await _talk(load)
    before = load.written
    teller.moment("blocked")
    _block(way, seconds)
    await _talk(load)
    load.end()
    await asyncio.to_thread(own.recorder.sync)
    teller.said(before=before, flushed=await own.flush(10))


async def _talk(load: Load) -> None:
    for _ in range(60):
        load.step()
        await asyncio.sleep(0.002)


def _block(way: str, seconds: int) -> None:
    if way == "sleeping":
        time.sleep(seconds)
        return
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
