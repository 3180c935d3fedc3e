"""The database is locked, deleted, replaced, restored, read-only while several processes write; the calls go on."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.soak.audit import audit, ledgered
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.told import Told
from tests.soak.worlds import World
from tests.soak.writer import Writing, write

GATHER_S = (0.05, 0.05, 0.9)
"""How often each writer drains. One is slow: it comes to what happened long after the others have dealt with it."""
WRITERS = len(GATHER_S)
LONGEST_MS = 1_000.0
"""No record() may wait for the database: that would take seconds. Up to here it is a busy machine's own doing."""

Fault = Callable[[World, float], None]
Say = Callable[[str], None]


def database_fault(
    world: World,
    result: Result,
    fault: Fault,
    seconds: float,
    seed: int,
    say: Say,
    *,
    counts_losses: bool = False,
    replay_bytes: int | None = None,
) -> None:
    """Three writers and the spool of a dead one; the fault, which lasts `seconds`; and a time of peace.

    `counts_losses`: the fault takes what cannot be had back, and the ledger must say how much.
    """
    rng = random.Random(seed)
    told = _dead_writer(world, rng)
    plans = [replace(_writing(world, rng, gather_s), replay_bytes=replay_bytes) for gather_s in GATHER_S]
    writers = [Victim(write, plan) for plan in plans]
    for writer in writers:
        writer.wait_for("writing")
    time.sleep(0.6)
    say("writers are at it")
    fault(world, seconds)
    say("the fault is over")
    time.sleep(min(1.5, seconds / 2))
    living = _ended(writers)
    if not counts_losses:
        _look_for_living(world, living, result)
    told.add(living)
    recover(world, result, rng)
    audit(world, told, result, runs=1, counts_losses=counts_losses)
    _look_at_calls(told, result)


def _writing(world: World, rng: random.Random, gather_s: float) -> Writing:
    seed = rng.getrandbits(32)
    return Writing(
        world, seed, segment_bytes=20_000, gather_s=gather_s, pause_s=0.1, ends_s=gather_s * 40, as_anybody=True
    )


def _dead_writer(world: World, rng: random.Random) -> Told:
    writer = Victim(write, _writing(world, rng, GATHER_S[0]))
    writer.wait_for("writing")
    time.sleep(0.3)
    return writer.kill()


def _ended(writers: list[Victim]) -> Told:
    told = Told()
    for writer in writers:
        writer.stop()
    for writer in writers:
        told.add(writer.end(90))
    return told


def _look_for_living(world: World, living: Told, result: Result) -> None:
    """Before anybody takes over: a living process has brought home what it wrote, whatever became of the ledger."""
    there = {row["request_id"] for row in ledgered(world, ("records",)).records}
    if missing := living.records - there:
        result.faults.append(f"{len(missing)} records of living processes were not in the ledger when they ended")


def _look_at_calls(told: Told, result: Result) -> None:
    last_words = [said for said in told.said if "longest_ms" in said]
    if len(last_words) < WRITERS:
        result.faults.append(f"{WRITERS - len(last_words)} of {WRITERS} calls did not go on to their end")
    for said in last_words:
        if not said["drained"]:
            result.faults.append(f"a process could not bring its spool home: {said}")
    longest = max((said["longest_ms"] for said in last_words), default=0)
    noted = sorted({name for said in last_words for name in said["noted"]})
    result.notes.append(f"longest record() {longest} ms; noted: {', '.join(noted) or 'nothing'}")
    if longest > LONGEST_MS:
        result.faults.append(f"a record() took {longest} ms")


# -- the faults --------------------------------------------------------------------------------------------------------


def locked(world: World, seconds: float) -> None:
    """Another process holds the write lock, longer than SQLite waits for it."""
    with closing(sqlite3.connect(world.database, timeout=30, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        conn.execute("ROLLBACK")


def deleted(world: World, seconds: float) -> None:
    """Somebody removes the file and its companions under the living writers."""
    for path in (world.database, *_companions(world)):
        path.unlink(missing_ok=True)
    time.sleep(seconds / 3)


def replaced(world: World, seconds: float) -> None:
    """A backup of some time ago is moved to where the database was."""
    backup = backup_of(world)
    time.sleep(seconds / 3)
    for path in _companions(world):  # as SQLite's own advice for a restore says
        path.unlink(missing_ok=True)
    backup.replace(world.database)
    time.sleep(seconds / 3)


def moved_over(world: World, seconds: float) -> None:
    """The same by somebody who has not read SQLite's advice: the WAL of the old file stays beside the new one."""
    backup = backup_of(world)
    time.sleep(seconds / 3)
    backup.replace(world.database)
    time.sleep(seconds / 3)


def restored(world: World, seconds: float) -> None:
    """A backup of some time ago is written back into the same file by SQLite's own backup."""
    backup = backup_of(world)
    time.sleep(seconds / 3)
    with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(world.database, timeout=30)) as target:
        source.backup(target)
    time.sleep(seconds / 3)


def corrupt(world: World, seconds: float) -> None:
    """A broken disk writes nonsense into the file; some time later somebody moves it away, for a new one to be made."""
    rng = random.Random(world.url)
    with world.database.open("r+b") as file:
        size = file.seek(0, 2)
        for _ in range(40):
            file.seek(rng.randrange(size))
            file.write(rng.randbytes(400))
    time.sleep(seconds)
    for path in (*_companions(world), world.database):
        if path.exists():
            path.rename(path.with_name(path.name + ".damaged"))


def yesterdays(world: World, seconds: float) -> None:
    """A backup is restored that is older than what the spools still keep."""
    backup = backup_of(world)
    time.sleep(max(2.0, seconds / 2))
    for path in _companions(world):
        path.unlink(missing_ok=True)
    backup.replace(world.database)
    time.sleep(seconds / 3)


def read_only(world: World, seconds: float) -> None:
    """File and folder may only be read for a while; a file of the same content takes its place, to be opened anew."""
    copy = world.folder / "copy.db"
    with closing(sqlite3.connect(world.database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o444)
    world.folder.chmod(0o555)
    for path in _companions(world):
        path.unlink(missing_ok=True)
    copy.replace(world.database)
    time.sleep(seconds)
    world.folder.chmod(0o755)
    world.database.chmod(0o600)


def _companions(world: World) -> list[Path]:
    return [world.database.with_name(world.database.name + end) for end in ("-wal", "-shm", "-journal")]


def backup_of(world: World) -> Path:
    backup = world.folder / "backup.db"
    with closing(sqlite3.connect(world.database, timeout=30)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    shutil.copymode(world.database, backup)
    return backup
