"""SIGKILL at random instants on a recorder and its background, without LiveKit; then takers, some killed as well."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from tests.soak.audit import audit
from tests.soak.phases import phases_in
from tests.soak.processes import Victim
from tests.soak.recovery import kill_a_taker, recover
from tests.soak.result import Result
from tests.soak.told import Told
from tests.soak.worlds import World, Worlds
from tests.soak.writer import Writing, write

KILLS_A_WORLD = 6
AT_ONCE = 2

Say = Callable[[str], None]


def killed_recorders(worlds: Worlds, result: Result, runs: int, seed: int, say: Say, kind: str = "sqlite") -> None:
    """Each world is born, written by several generations that are killed one after the other, and audited."""
    rng = random.Random(seed)
    hit: Counter[str] = Counter()
    done = 0
    while done < runs:
        kills = min(KILLS_A_WORLD, runs - done)
        with worlds.new(kind) as world:
            told = _live_through(world, result, rng, kills, hit)
            audit(world, told, result, runs=kills)
        done += kills
        say(f"{done} of {runs} kills")
    named = ", ".join(f"{name} {count}" for name, count in sorted(hit.items()))
    result.notes.append(f"seed {seed}; killed while {named}")


def _live_through(world: World, result: Result, rng: random.Random, kills: int, hit: Counter[str]) -> Told:
    told = Told()
    left = kills
    while left:
        # The first one is alone: it makes the ledger, and is killed at about that time.
        count = 1 if left == kills else min(AT_ONCE, left)
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
        kill_a_taker(world, rng, hit)
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
            writer.wait_for("ending", times=rng.randint(1, 2), within=4)
            time.sleep(rng.uniform(0, 0.03))
        case _:
            writer.wait_for("writing")
            time.sleep(rng.uniform(0, 0.4))
