"""A power cut, as far as it can be had without one: what was fsynced remains, everything else is gone.

The child's `fsync` copies what it syncs to another folder. After the kill that folder is all there is: no page
cache, and no database, or one without its log. It is what a disk must keep that does what fsync asks of it.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from livekit_tokens.core.spool import lock_path
from livekit_tokens.core.syncing import Syncing
from tests.soak.audit import audit
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.told import SYNCED, SYNCING, Teller, Told
from tests.soak.worlds import World, Worlds
from tests.soak.writer import Writer, Writing

Say = Callable[[str], None]


def power_cuts(worlds: Worlds, result: Result, runs: int, seed: int, say: Say) -> None:
    """A run: a writer with DURABILITY=power, and a cut that takes the database as well."""
    _cuts(worlds, result, runs, seed, say, _Disk())


def cuts_and_failing_syncs(worlds: Worlds, result: Result, runs: int, seed: int, say: Say) -> None:
    """The same on a disk of which every tenth fsync fails, and which then keeps nothing more of that file."""
    _cuts(worlds, result, runs, seed, say, _Disk(failing=0.1))


def cuts_of_the_ledgers_end(worlds: Worlds, result: Result, runs: int, seed: int, say: Say) -> None:
    """The same where the spool keeps little of what is in the ledger, and the ledger loses its log."""
    _cuts(worlds, result, runs, seed, say, _Disk(replay_bytes=10_000))


@dataclass(frozen=True)
class _Disk:
    """`failing`: the share of fsyncs that fail. `replay_bytes`: what the spool keeps of what is in the ledger; given,
    the ledger's file is what the cut leaves of it.
    """

    failing: float = 0.0
    replay_bytes: int | None = None


def _cuts(worlds: Worlds, result: Result, runs: int, seed: int, say: Say, disk: _Disk) -> None:
    rng = random.Random(seed)
    late = 0
    for run in range(runs):
        with worlds.new() as world:
            told = _cut(world, rng, disk)
            left = _after_the_cut(world, disk)
            recover(left, result, rng)
            # Parts that were opened or closed since the last sync are neither expected nor missed.
            synced = replace(told, records=told.synced, in_flight=set(), opened=set(), closed=set())
            # Where a sync fails, a later segment may be on the disk and an earlier one not: what the cut takes then is
            # counted, and had been promised to nobody.
            unsynced = frozenset(told.records - told.synced) if disk.failing else frozenset[str]()
            found = audit(left, synced, result, runs=1, damaged=unsynced)
            late += len(told.records - {row["request_id"] for row in found.records})
        say(f"{run + 1} of {runs} cuts")
    result.notes.append(f"acknowledged before a sync that had ended; of what came after it, {late} were gone")


def _cut(world: World, rng: random.Random, disk: _Disk) -> Told:
    writing = Writing(
        world,
        rng.getrandbits(32),
        segment_bytes=60_000 if disk.failing else rng.choice((5_000, 60_000)),
        pause_s=0.02,
        replay_bytes=disk.replay_bytes,
    )
    writer = Victim(write_on_a_disk, writing, disk.failing)
    writer.wait_for("writing")
    writer.wait_for(SYNCED)
    time.sleep(rng.uniform(0, 0.8))
    return writer.kill()


def _after_the_cut(world: World, disk: _Disk) -> World:
    """A machine that comes up again: of each file what was synced of it, and a lock that nobody holds."""
    spools, before = world.root.parent, world.folder / "before"
    spools.rename(before)
    world.root.mkdir(parents=True)
    for path in before.rglob("*.jsonl"):
        synced = world.folder / "synced" / str(path.stat().st_ino)
        if synced.exists():
            kept = spools / path.relative_to(before)
            kept.parent.mkdir(parents=True, exist_ok=True)
            synced.rename(kept)
    for folder in world.root.iterdir():
        lock_path(folder).touch()
    left = replace(world, url=f"sqlite:///{world.folder / 'new.db'}")
    if disk.replay_bytes is not None and world.database.exists():
        # synchronous=NORMAL: of the log, what the product itself has synced. It is not brought into the file so soon.
        shutil.copy(world.database, left.database)
        log = world.database.with_name(f"{world.database.name}-wal")
        if log.exists() and (synced := world.folder / "synced" / str(log.stat().st_ino)).exists():
            synced.rename(left.database.with_name(f"{left.database.name}-wal"))
    return left


def write_on_a_disk(teller: Teller, writing: Writing, failing: float) -> None:
    """A child's work. What is synced of a file is kept under its inode, whatever the file is called afterwards. A file
    of which an fsync has failed is never kept again, whatever later ones say: Linux tells of a failed write once, and
    holds the pages to be clean from then on.
    """
    synced = writing.world.folder / "synced"
    synced.mkdir()
    really_sync = os.fsync
    rng, broken, held = random.Random(writing.seed), set[int](), dict[int, int]()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def fsync(fd: int) -> None:
        really_sync(fd)
        told = os.fstat(fd)
        if not stat.S_ISREG(told.st_mode):
            return
        if told.st_ino not in held:
            held[told.st_ino] = os.dup(fd)  # so that no other file is given its inode
        if rng.random() < failing:
            broken.add(told.st_ino)
            raise OSError(errno.EIO, "as a disk that fails")
        if told.st_ino not in broken:
            _copy(fd, synced / str(told.st_ino))

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


def _copy(fd: int, to: Path) -> None:
    half = to.with_suffix(f".{threading.get_ident()}")  # background and syncing thread may both be at it
    half.write_bytes(Path(f"/proc/self/fd/{fd}").read_bytes())
    half.replace(to)
