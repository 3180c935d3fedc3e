"""Many processes on one SQLite file that does not exist yet, all writing at once."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.soak.audit import audit
from tests.soak.processes import Victim
from tests.soak.result import Result
from tests.soak.told import Told
from tests.soak.worlds import Worlds
from tests.soak.writer import FLUSH_SECONDS, Writing, write

PROCESSES = 16


def many_writers(worlds: Worlds, result: Result, records: int, seed: int, say: Callable[[str], None]) -> None:
    """`records` are those of each process. Nobody takes over anything: each brings its own home."""
    rng = random.Random(seed)
    told = Told()
    with worlds.new() as world:
        writers = [Victim(write, Writing(world, rng.getrandbits(32), records=records)) for _ in range(PROCESSES)]
        for number, writer in enumerate(writers):
            told.add(writer.end(FLUSH_SECONDS + 30))
            say(f"{number + 1} of {PROCESSES} processes ended")
        audit(world, told, result, runs=1)
    undrained = [said for said in told.said if not said.get("drained")]
    result.faults += [f"a process could not bring its spool home: {said}" for said in undrained]
    longest = max((said.get("longest_ms", 0) for said in told.said), default=0)
    result.notes.append(f"{PROCESSES} processes x {records} records; longest record() {longest} ms")
