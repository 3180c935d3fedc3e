"""Full disks: under the database, under the spools, and under the spools while the database is locked as well."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from tests.soak.audit import audit
from tests.soak.database_faults import database_fault
from tests.soak.disks import NoDisk, SmallDisk, small_disk
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.worlds import World, Worlds
from tests.soak.writer import Writing, write

_MOST_MEMORY_MB = 40
"""What one writer may grow by while 8 MB of lines wait in it."""

Say = Callable[[str], None]


def full_under_database(worlds: Worlds, result: Result, seconds: int, seed: int, say: Say) -> None:
    """The database's disk is full for a while; the spools are elsewhere."""

    def full(world: World, seconds: float) -> None:
        disk.fill()
        time.sleep(seconds)
        disk.empty()

    try:
        with worlds.new() as world, small_disk(world.folder / "disk", 40) as disk:
            elsewhere = replace(world, url=f"sqlite:///{disk.folder / 'ledger.db'}")
            database_fault(elsewhere, result, full, seconds, seed, say)
    except NoDisk as reason:
        result.skipped = str(reason)


def full_under_spools(worlds: Worlds, result: Result, seconds: int, seed: int, say: Say) -> None:
    """The spools' disk is full; the database goes on. What is in it gives room to what is not: nothing is lost."""

    def full(world: World, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.3)
            disk.fill()
        disk.empty()

    try:
        with worlds.new() as world, small_disk(world.folder / "spool", 20) as disk:
            database_fault(world, result, full, seconds, seed, say)
    except NoDisk as reason:
        result.skipped = str(reason)


def full_and_locked(worlds: Worlds, result: Result, records: int, seed: int, say: Say) -> None:
    """Neither disk nor database takes anything while `records` are written: memory fills to its bound, the rest is
    dropped, and exactly that is what both the process and the ledger count.
    """
    rng = random.Random(seed)
    result.goal = "lost = counted, 0 twice"
    try:
        with worlds.new() as world, small_disk(world.folder / "spool", 2) as disk:
            _write_into_nothing(world, disk, result, records, rng, say)
    except NoDisk as reason:
        result.skipped = str(reason)


def _write_into_nothing(world: World, disk: SmallDisk, result: Result, records: int, rng: random.Random, say: Say):
    writing = Writing(world, rng.getrandbits(32), records=records, wait_for_go=True)
    writer = Victim(write, writing)
    writer.wait_for("writing")
    writer.wait_for("connecting")
    time.sleep(1.0)  # it has made the ledger
    with closing(sqlite3.connect(world.database, timeout=30, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        disk.fill()
        writer.go()
        writer.wait_for("written", within=120)
        say("all is written, into memory")
        disk.empty()
        conn.execute("ROLLBACK")
    told = writer.end(90)
    recover(world, result, rng)
    audit(world, told, result, runs=1, counts_losses=True)
    for said in told.said:
        grown, unkept = said.get("grown_mb", 0), said.get("unkept", 0)
        result.notes.append(f"{unkept:,} records could not be kept; the process grew by {grown} MB")
        if not unkept:
            result.faults.append("nothing was dropped: the bound of what waits in memory was not reached")
        if unkept != result.lost:
            result.faults.append(f"the process counted {unkept} lost")
        if grown > _MOST_MEMORY_MB:
            result.faults.append(f"memory grew by {grown} MB")
