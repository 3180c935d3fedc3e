"""Dead spools with flipped, torn and foreign bytes: what is lost is what the damaged lines held, and it is counted.

Which lines survive is found out here by a reader of its own, not by the one that is tested.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from tests.soak.audit import audit, owned_up_to
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.told import Told
from tests.soak.worlds import World, Worlds
from tests.soak.writer import Writing, write

GOAL = "lost = counted, 0 twice"
_NEVER_S = 60.0
_LEAST_SEGMENTS = 6

Harm = Callable[[list[Path], random.Random], None]
"""What is done to the segments of a spool, in their order."""


@dataclass(frozen=True)
class Damage:
    """`held` are the requests of the records whose lines were damaged. Of those after whose line no readable line has
    a number, so that no gap in the numbers can tell of them, `without_trace` cannot even be seen any more.
    """

    held: frozenset[str]
    without_trace: int


Say = Callable[[str], None]


def damaged_spools(worlds: Worlds, result: Result, runs: int, seed: int, say: Say) -> None:
    """A run: a writer that has drained nothing is killed, its spool is damaged, and taken over."""
    _harmed(worlds, result, runs, seed, say, damage_lines)


def missing_segments(worlds: Worlds, result: Result, runs: int, seed: int, say: Say) -> None:
    """The same, but whole segments in the middle are gone."""
    _harmed(worlds, result, runs, seed, say, remove_segments)


def _harmed(worlds: Worlds, result: Result, runs: int, seed: int, say: Say, harm: Harm) -> None:
    rng = random.Random(seed)
    result.goal = GOAL
    at_the_end = 0
    for run in range(runs):
        with worlds.new() as world:
            told = _dead_writer(world, rng, harm)
            (folder,) = (path for path in world.root.iterdir() if not path.name.startswith("."))
            damage = harmed(folder, rng, harm)
            recover(world, result, rng)
            at_the_end += _compare(world, told, damage, result)
        say(f"{run + 1} of {runs} spools")
    result.notes.append(f"{at_the_end} of the lost stood at a spool's very end, and nothing is left of them")


def _dead_writer(world: World, rng: random.Random, harm: Harm) -> Told:
    segment_bytes = rng.choice((6_000, 1_000_000)) if harm is damage_lines else 3_000
    # Figures have no number before their record is made: where their line is damaged, their request is estimated.
    writing = Writing(world, rng.getrandbits(32), gather_s=_NEVER_S, segment_bytes=segment_bytes, figures=False)
    writer = Victim(write, writing)
    writer.wait_for("writing")
    time.sleep(rng.uniform(0.1, 0.3))
    while harm is remove_segments and len(list(world.root.glob("*/*.jsonl"))) < _LEAST_SEGMENTS and writer.running:
        time.sleep(0.05)
    return writer.kill()


def _compare(world: World, told: Told, damage: Damage, result: Result) -> int:
    """Adds the run to the result; returns how many were lost at the very end without a trace."""
    # A damaged line of a part may cost its end or its name; the records are what is counted here.
    found = audit(world, told, result, runs=1, damaged=damage.held | _in_flight_only(told))
    reported = {row["request_id"] for row in found.records if row["provenance"] == "reported"}
    lost = damage.held - reported
    if back := damage.held & reported:
        result.faults.append(f"{len(back)} records of damaged lines are in the ledger")
    result.lost += len(lost)
    untold = damage.without_trace
    if (counted := owned_up_to(found)) != len(lost) - untold:
        result.faults.append(f"{len(lost)} were lost in a run, {untold} without a trace, and {counted} were counted")
    result.counted += counted + untold
    return untold


def _in_flight_only(told: Told) -> set[str]:
    # The line that told of a request in flight may be damaged: then there is nothing to estimate from.
    return told.in_flight - told.records


# -- the damage --------------------------------------------------------------------------------------------------------


def damage_lines(segments: list[Path], rng: random.Random) -> None:
    """Damage some places of a dead spool."""
    for path in segments:
        if rng.random() < 0.8:
            raw = bytearray(path.read_bytes())
            for _ in range(rng.randint(1, 4)):
                _damage(raw, rng)
            path.write_bytes(raw)


def remove_segments(segments: list[Path], rng: random.Random) -> None:
    """Of those in the middle, one to three."""
    for path in rng.sample(segments[1:-1], rng.randint(1, 3)):
        path.unlink()


def harmed(folder: Path, rng: random.Random, harm: Harm) -> Damage:
    """What that did to a dead spool."""
    before = list(_records_in(folder))
    harm(sorted(folder.glob("*.jsonl")), rng)
    after = {request for _, request in _records_in(folder)}
    last = max((said.get("seq", 0) for said in _lines_in(folder)), default=0)
    return Damage(
        held=frozenset(request for _, request in before if request not in after),
        without_trace=max(0, sum(request not in after and seq > last for seq, request in before) - _traces_in(folder)),
    )


def _traces_in(folder: Path) -> int:
    """How many records can be seen in damaged lines behind the last line that has a number."""
    traces = 0
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            said = _read(line)
            traces = 0 if "seq" in said else traces
            if not said:
                traces += len(re.findall(rb'(?:"type":"use",)?"seq":\d+,"record":|"type":"use"', line))
    return traces


def _damage(raw: bytearray, rng: random.Random) -> None:
    if not raw:
        return
    place = rng.randrange(len(raw))
    match rng.choice(("flip", "head", "newline", "zeros", "foreign", "torn")):
        case "flip":
            raw[place] ^= 1 << rng.randrange(8)
        case "head":
            raw[rng.randrange(min(len(raw), 100))] ^= 1 << rng.randrange(8)
        case "newline":
            found = raw.find(b"\n", place)
            if found >= 0:
                raw[found] = 0x20
        case "zeros":
            end = min(len(raw), place + rng.randint(1, 700))
            raw[place:end] = bytes(end - place)
        case "foreign":
            raw[place:place] = rng.randbytes(rng.randint(1, 300))
        case "torn":
            del raw[max(0, len(raw) - rng.randint(1, 300)) :]


def _records_in(folder: Path) -> Iterator[tuple[int, str]]:
    """Number and request id of every readable record."""
    for said in _lines_in(folder):
        if said.get("type") == "use":
            yield said["seq"], said["record"]["request_id"]


def _lines_in(folder: Path) -> Iterator[dict[str, Any]]:
    """Every readable line, by the format's own words: checksum, space, JSON, newline."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            yield _read(line)


def _read(line: bytes) -> dict[str, Any]:
    try:
        if int(line[:8], 16) != crc32(line[9:]):
            return {}
        found: dict[str, Any] = json.loads(line[9:])
    except ValueError:
        return {}
    return found
