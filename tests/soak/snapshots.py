"""A file system goes back to a snapshot after a crash: the spool is behind its ledger."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable

from tests.soak.audit import audit
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.worlds import World, Worlds
from tests.soak.writer import Writing, write

Say = Callable[[str], None]


def rolled_back(worlds: Worlds, result: Result, runs: int, seed: int, say: Say) -> None:
    """A run: the spools are copied at some moment of a writer's life; when all is in the ledger, the copy is put in
    their place, without the writer. What goes on in it has long ended.
    """
    rng = random.Random(seed)
    for run in range(runs):
        with worlds.new() as world:
            writer = Victim(write, Writing(world, rng.getrandbits(32), segment_bytes=rng.choice((5_000, 50_000))))
            writer.wait_for("writing")
            time.sleep(rng.uniform(0.1, 0.8))
            _copied(world)
            time.sleep(rng.uniform(0, 0.5))
            writer.stop()
            told = writer.end(60)
            recover(world, result, rng)
            _put_back(world)
            recover(world, result, rng)
            audit(world, told, result, runs=1)
        say(f"{run + 1} of {runs} snapshots")


def _copied(world: World) -> None:
    """Of each file what was there, as a snapshot has it: whatever vanishes meanwhile was not in it."""
    snapshot = world.folder / "snapshot"
    for path in world.root.rglob("*"):
        kept = snapshot / path.relative_to(world.root)
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.is_file():
                shutil.copy2(path, kept)
        except FileNotFoundError:
            continue


def _put_back(world: World) -> None:
    shutil.rmtree(world.root)
    (world.folder / "snapshot").rename(world.root)
