"""Bring a world home after its processes are dead, with takers that may be killed as well."""

from __future__ import annotations

import random
import time
from collections import Counter

from tests.soak.phases import phases_in
from tests.soak.processes import Victim
from tests.soak.result import Result
from tests.soak.taker import Taking, take
from tests.soak.told import Told
from tests.soak.worlds import World

_MOST_TRIES = 40


def recover(
    world: World, result: Result, rng: random.Random, *, killed_share: float = 0.0, hit: Counter[str] | None = None
) -> None:
    """Take over until a taker finds nothing more to do. Some takers are killed on the way, at a random moment, and
    `hit` counts what they were doing.
    """
    if killed_share:
        while rng.random() < killed_share:
            result.faults += kill_a_taker(world, rng, hit).faults
    for _ in range(_MOST_TRIES):
        told = Victim(take, Taking(world)).end(60)
        result.faults += told.faults
        if is_finished(told):
            return
        time.sleep(0.05)
    result.faults.append(f"recovery did not come to an end; the last taker said {told.said}")


def kill_a_taker(world: World, rng: random.Random, hit: Counter[str] | None = None) -> Told:
    phases = world.folder / "taker"
    taker = Victim(take, Taking(world, phases=phases))
    taker.look_for("taking")  # it may be that the ledger cannot be had at this moment
    time.sleep(rng.uniform(0, 0.03))
    told = taker.kill()
    if hit is not None:
        hit.update(phases_in(phases))
    return told


def is_finished(told: Told) -> bool:
    """Whether the taker found every spool settled and drained already."""
    found = [said["recovered"] for said in told.said if "recovered" in said]
    return bool(found) and not any(found[-1][name] for name in ("sources", "records", "parts", "estimated", "held"))
