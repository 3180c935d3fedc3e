"""A power cut, as far as it can be had without one: what was fsynced remains, everything else is gone.

The child's `fsync` copies what it syncs to another folder. After the kill that folder is all there is: no database, no
page cache. It is what a disk must keep that does what fsync asks of it.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from livekit_tokens.core.spool import lock_path
from livekit_tokens.core.syncing import Syncing
from tests.soak.audit import audit
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.told import SYNCED, SYNCING, Teller, Told
from tests.soak.worlds import HOST, World, Worlds
from tests.soak.writer import Writer, Writing


def power_cuts(worlds: Worlds, result: Result, runs: int, seed: int, say: Callable[[str], None]) -> None:
    """A run: a writer with DURABILITY=power, and a cut."""
    rng = random.Random(seed)
    late = 0
    for run in range(runs):
        with worlds.new() as world:
            told = _cut(world, rng)
            left = _after_the_cut(world)
            recover(left, result, rng)
            # Parts that were opened or closed since the last sync are neither expected nor missed.
            synced = replace(told, records=told.synced, in_flight=set(), opened=set(), closed=set())
            found = audit(left, synced, result, runs=1, damaged=frozenset())
            late += len(told.records - {row["request_id"] for row in found.records})
        say(f"{run + 1} of {runs} cuts")
    result.notes.append(f"acknowledged before a sync that had ended; of what came after it, {late} were gone")


def _cut(world: World, rng: random.Random) -> Told:
    writing = Writing(world, rng.getrandbits(32), segment_bytes=rng.choice((5_000, 60_000)), pause_s=0.02)
    writer = Victim(write_on_a_disk, writing)
    writer.wait_for("writing")
    writer.wait_for(SYNCED)
    time.sleep(rng.uniform(0, 0.8))
    return writer.kill()


def _after_the_cut(world: World) -> World:
    """A machine that comes up again: the synced files, and a lock that nobody holds."""
    shutil.rmtree(world.root.parent)
    (world.folder / "synced").rename(world.root.parent)
    for folder in world.root.iterdir():
        lock_path(folder).touch()
    return replace(world, url=f"sqlite:///{world.folder / 'new.db'}")


def write_on_a_disk(teller: Teller, writing: Writing) -> None:
    """A child's work."""
    spools, disk = writing.world.root.parent, writing.world.folder / "synced"
    (disk / HOST).mkdir(parents=True)
    really_sync = os.fsync

    def fsync(fd: int) -> None:
        really_sync(fd)
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.suffix == ".jsonl" and path.exists():
            _copy(path, disk / path.relative_to(spools))

    os.fsync = fsync
    writer = Writer(teller, writing)

    def sync() -> bool:
        teller.moment(SYNCING)
        done = writer.sync()
        teller.moment(SYNCED if done else "not synced")
        return done

    syncing = Syncing(sync)
    writer.on_written(syncing.written)
    syncing.start()
    writer.go_on()


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(exist_ok=True)
    half = to.with_suffix(f".{threading.get_ident()}")  # background and syncing thread may both be at it
    half.write_bytes(path.read_bytes())
    half.replace(to)
