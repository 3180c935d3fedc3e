"""All experiments by name, with how often each is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests import postgres
from tests.soak import database_faults as faults
from tests.soak.blocked_loops import blocked_loop
from tests.soak.clocks import clock_jumps
from tests.soak.damaged_spools import damaged_spools, missing_segments
from tests.soak.database_faults import database_fault
from tests.soak.exits import left_at_once
from tests.soak.forking_takers import forking_takers
from tests.soak.forks import forked
from tests.soak.full_disks import full_and_locked, full_under_database, full_under_spools
from tests.soak.killed_at_commit import killed_at_commit
from tests.soak.killed_jobs import killed_jobs
from tests.soak.killed_recorders import killed_recorders
from tests.soak.lengths import long_and_short_calls
from tests.soak.many_writers import many_writers
from tests.soak.orphans import late_and_restored, orphaned_spools
from tests.soak.power_cuts import cuts_and_failing_syncs, cuts_of_the_ledgers_end, power_cuts
from tests.soak.result import Result
from tests.soak.rolled_days import rolled_days
from tests.soak.short_writes import short_writes
from tests.soak.snapshots import rolled_back
from tests.soak.two_takers import two_takers
from tests.soak.unwritable_spools import no_descriptors, read_only_spools, removed_spools
from tests.soak.worlds import Worlds

Say = Callable[[str], None]

_SMALL_WINDOW = 60_000
"""Bytes of a spool that are kept for a replay; 64 MB in production. With these, yesterday is some seconds ago."""


@dataclass(frozen=True)
class Experiment:
    """`work(worlds, result, size, seed, say)`; the size is a number of runs, of records, or seconds of a fault."""

    name: str
    work: Callable[..., None]
    full: int
    short: int

    def run(self, worlds: Worlds, size: int, *, seed: int, say: Say) -> Result:
        result = Result(self.name)
        try:
            self.work(worlds, result, size, seed, say)
        except postgres.NoPostgres as missing:
            result.skipped = str(missing)
        except Exception as error:  # noqa: BLE001 - one experiment that cannot be run must not hide the others
            result.faults.append(f"the experiment itself failed: {type(error).__name__}: {error}")
        return result


def _on_postgres(work: Callable[..., None]) -> Callable[..., None]:
    def on_postgres(*args: Any) -> None:
        work(*args, "postgresql")

    return on_postgres


def _yesterdays_backup(worlds: Worlds, result: Result, seconds: int, seed: int, say: Say) -> None:
    result.goal = "lost = counted, 0 twice"
    with worlds.new() as world:
        database_fault(
            world, result, faults.yesterdays, seconds, seed, say, counts_losses=True, replay_bytes=_SMALL_WINDOW
        )


def _database(fault: faults.Fault) -> Callable[..., None]:
    def meet(worlds: Worlds, result: Result, seconds: int, seed: int, say: Say) -> None:
        with worlds.new() as world:
            database_fault(world, result, fault, seconds, seed, say)

    return meet


EXPERIMENTS = (
    # 950 kills of recorders, 50 of jobs.
    Experiment("recorder killed", killed_recorders, full=740, short=15),
    Experiment("recorder killed, PostgreSQL", _on_postgres(killed_recorders), full=110, short=6),
    Experiment("killed at a commit", killed_at_commit, full=50, short=6),
    Experiment("job killed", killed_jobs, full=50, short=1),
    Experiment("two takers", two_takers, full=20, short=2),
    Experiment("two takers, PostgreSQL", _on_postgres(two_takers), full=10, short=2),
    Experiment("200 orphaned spools", orphaned_spools, full=200, short=200),
    Experiment("spools older than the window, restored", late_and_restored, full=50, short=10),
    Experiment("power cut, DURABILITY=power", power_cuts, full=20, short=2),
    Experiment("power cut, some syncs fail", cuts_and_failing_syncs, full=20, short=2),
    Experiment("power cut, the ledger's end gone", cuts_of_the_ledgers_end, full=20, short=2),
    Experiment("spools rolled back", rolled_back, full=20, short=3),
    Experiment("short writes", short_writes, full=20, short=2),
    Experiment("damaged spool", damaged_spools, full=30, short=4),
    Experiment("segments missing", missing_segments, full=20, short=2),
    Experiment("database locked", _database(faults.locked), full=10, short=2),
    Experiment("database read-only", _database(faults.read_only), full=10, short=2),
    Experiment("database's disk full", full_under_database, full=10, short=2),
    Experiment("database deleted", _database(faults.deleted), full=10, short=2),
    Experiment("database replaced", _database(faults.replaced), full=10, short=2),
    Experiment("database corrupt", _database(faults.corrupt), full=10, short=2),
    Experiment("database restored", _database(faults.restored), full=10, short=2),
    Experiment("yesterday's backup restored", _yesterdays_backup, full=10, short=3),
    Experiment("spools' disk full", full_under_spools, full=10, short=2),
    Experiment("spools' disk full, database locked", full_and_locked, full=60_000, short=40_000),
    Experiment("spool folder read-only", _database(read_only_spools), full=10, short=2),
    Experiment("spool folder removed", removed_spools, full=10, short=2),
    Experiment("nothing can be opened", _database(no_descriptors), full=10, short=2),
    Experiment("clock jumps", clock_jumps, full=5, short=1),
    Experiment("fork in the middle", forked, full=60, short=8),
    Experiment("fork in a takeover", forking_takers, full=20, short=2),
    Experiment("exit after the last event", left_at_once, full=20, short=5),
    Experiment("exit, PostgreSQL by its name", _on_postgres(left_at_once), full=10, short=5),
    Experiment("loop blocked by the host", blocked_loop, full=5, short=2),
    Experiment("calls of 24 h and of 1 s", long_and_short_calls, full=5, short=20),
    Experiment("16 writers, one file", many_writers, full=2_000, short=200),
    Experiment("roll-up killed, late records", rolled_days, full=20, short=3),
    Experiment("roll-up killed, late records, PostgreSQL", _on_postgres(rolled_days), full=20, short=3),
)


NOT_MET = (Experiment("file moved over a living WAL", _database(faults.moved_over), full=3, short=3),)
"""Known not to be met, and run only when named: SQLite then reads the old file's WAL into the new file, which is
damaged by it (sqlite.org/howtocorrupt.html). The spools still hold what was written within the replay window."""


def named(text: str | None) -> Iterable[Experiment]:
    """Those whose name holds the text; without one, all that are to be met."""
    if text is None:
        return EXPERIMENTS
    return [experiment for experiment in EXPERIMENTS + NOT_MET if text in experiment.name]
