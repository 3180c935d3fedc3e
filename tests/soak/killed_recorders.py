"""SIGKILL at random instants on a recorder and its background, without LiveKit; then takers, some killed as well."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.soak.audit import audit
from tests.soak.phases import phases_in
from tests.soak.processes import Victim
from tests.soak.recovery import kill_a_taker, recover
from tests.soak.result import Result
from tests.soak.told import Told
from tests.soak.worlds import World, Worlds
from tests.soak.writer import Writing, write

KILLS_A_WORLD = 6
WORLDS_AT_ONCE = 4
"""A third of a world's time is waiting for the next kill."""
WRITERS_AT_ONCE = 2
LEAST_A_KILL = 10
"""Records that must have been acknowledged for each kill, taken together: some are killed before their first."""

Say = Callable[[str], None]


def killed_recorders(worlds: Worlds, result: Result, runs: int, seed: int, say: Say, kind: str = "sqlite") -> None:
    """Each world is born, written by several generations that are killed one after the other, and audited."""
    worlds.prepare(kind)
    hit: Counter[str] = Counter()
    kills = [min(KILLS_A_WORLD, runs - begun) for begun in range(0, runs, KILLS_A_WORLD)]
    pool = ThreadPoolExecutor(WORLDS_AT_ONCE)
    try:
        lives = [pool.submit(_life_of_a_world, worlds, kind, seed, n, many) for n, many in enumerate(kills)]
        for ended in as_completed(lives):
            found, its_hits = ended.result()
            result.add(found)
            hit.update(its_hits)
            say(f"{result.runs} of {runs} kills")
    finally:
        pool.shutdown(cancel_futures=True)
    if result.acknowledged < LEAST_A_KILL * result.runs:
        result.faults.append(f"fewer than {LEAST_A_KILL} records were acknowledged for each kill")
    named = ", ".join(f"{name} {count}" for name, count in sorted(hit.items()))
    result.notes.append(f"seed {seed}; killed while {named}")


def _life_of_a_world(worlds: Worlds, kind: str, seed: int, number: int, kills: int) -> tuple[Result, Counter[str]]:
    result, hit = Result("one world"), Counter[str]()
    with worlds.new(kind) as world:
        told = _live_through(world, result, random.Random(f"{seed}, world {number}"), kills, hit)
        audit(world, told, result, runs=kills)
    if not result.met:
        result.faults.append(f"that was world {number} of seed {seed}")
    return result, hit


def _live_through(world: World, result: Result, rng: random.Random, kills: int, hit: Counter[str]) -> Told:
    told = Told()
    left = kills
    while left:
        # The first one is alone: it makes the ledger, and is killed at about that time.
        count = 1 if left == kills else min(WRITERS_AT_ONCE, left)
        told.add(_kill_a_generation(world, rng, count, hit, first=left == kills))
        left -= count
        if rng.random() < 0.7:  # otherwise the next generation finds the dead
            recover(world, result, rng, killed_share=0.35, hit=hit)
    recover(world, result, rng, killed_share=0.35, hit=hit)
    return told


def _kill_a_generation(world: World, rng: random.Random, count: int, hit: Counter[str], *, first: bool) -> Told:
    told = Told()
    writers = []
    for number in range(count):
        phases = world.folder / f"phases{number}"
        writing = Writing(
            world,
            seed=rng.getrandbits(32),
            segment_bytes=rng.choice((2_500, 6_000, 20_000)),
            gather_s=rng.choice((0.005, 0.02, 0.1)),
            pause_s=rng.choice((0.001, 0.01, 0.03)),
            ends_s=rng.choice((0.1, 0.3, 1.0)),
            phases=phases,
        )
        writers.append((Victim(write, writing), phases))
    if rng.random() < 0.2:
        told.add(kill_a_taker(world, rng, hit))
    for writer, phases in writers:
        _wait_for_its_hour(writer, "connecting" if first else _hour(rng), rng)
        told.add(writer.kill())
        hit.update(phases_in(phases) or ["between"])
    return told


def _hour(rng: random.Random) -> str:
    return rng.choices(("birth", "connecting", "ending", "any"), (1, 2, 3, 6))[0]


def _wait_for_its_hour(writer: Victim, hour: str, rng: random.Random) -> None:
    """A moment of its birth, of its first connection (migration), of an end of its calls, or any other."""
    match hour:
        case "birth":
            time.sleep(rng.uniform(0, 0.05))
        case "connecting":
            writer.wait_for("connecting")
            time.sleep(rng.uniform(0, 0.05))
        case "ending":
            writer.look_for("ending", times=rng.randint(1, 2), within=4)
            time.sleep(rng.uniform(0, 0.03))
        case _:
            writer.wait_for("writing")
            time.sleep(rng.uniform(0, 0.4))
