"""A power cut, as far as it can be had without one: what was fsynced remains, everything else is gone.

The child's `fsync` copies what it syncs to another folder. After the kill that folder is all there is: no database, no
page cache. It is what a disk must keep that does what fsync asks of it.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from livekit_tokens.core.spool import lock_path
from livekit_tokens.core.syncing import SYNC_SECONDS, Syncing
from tests.soak.audit import audit
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.told import Teller, Told
from tests.soak.worlds import HOST, World, Worlds
from tests.soak.writer import Writer, Writing

SETTLED_S = SYNC_SECONDS + 0.4
"""What was acknowledged so long before the cut must be there: the time of an fsync on a busy machine included."""


def power_cuts(worlds: Worlds, result: Result, runs: int, seed: int, say: Callable[[str], None]) -> None:
    """A run: a writer with DURABILITY=power, and a cut."""
    rng = random.Random(seed)
    late = 0
    for run in range(runs):
        with worlds.new() as world:
            before, told = _cut(world, rng)
            left = _after_the_cut(world)
            recover(left, result, rng)
            found = audit(left, before, result, runs=1, damaged=frozenset(before.in_flight - before.records))
            late += len(told.records - {row["request_id"] for row in found.records})
        say(f"{run + 1} of {runs} cuts")
    result.notes.append(f"acknowledged {SETTLED_S:g} s before the cut; of what came after that, {late} were gone")


def _cut(world: World, rng: random.Random) -> tuple[Told, Told]:
    """What was told some time before the cut, and until then."""
    writing = Writing(world, rng.getrandbits(32), segment_bytes=rng.choice((5_000, 60_000)), pause_s=0.02)
    writer = Victim(write_on_a_disk, writing)
    writer.wait_for("writing")
    time.sleep(rng.uniform(0.1, 0.6))
    records = writer.recorded()
    time.sleep(SETTLED_S)
    told = writer.kill()
    # Parts that were opened or closed since are neither expected nor missed.
    return replace(told, records=records, in_flight=set(), opened=set(), closed=set()), told


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
    syncing = Syncing(writer.sync)
    writer.on_written(syncing.written)
    syncing.start()
    writer.go_on()


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(exist_ok=True)
    half = to.with_suffix(".half")
    half.write_bytes(path.read_bytes())
    half.replace(to)
