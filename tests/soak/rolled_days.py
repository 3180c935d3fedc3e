"""A fleet's day that is over is rolled up while others write, also late records into it; who rolls it up is killed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence

import asyncpg

from livekit_tokens.core.ledger import Source
from livekit_tokens.demo.filling import fill
from livekit_tokens.demo.traffic import Call
from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.sessions import Part, Stay, ended
from livekit_tokens.domain.times import Micros
from livekit_tokens.store.connection import StoreLedger
from tests.soak.audit import QUARTER, audit, compare_days, ledgered
from tests.soak.load import now, record_of
from tests.soak.prices import price
from tests.soak.processes import Victim
from tests.soak.result import Result
from tests.soak.roller import ROLLING, roll_up
from tests.soak.told import Told
from tests.soak.worlds import World, Worlds
from tests.soak.writer import FLUSH_SECONDS, Writing, write

CALLS, RECORDS = 500, 20
"""Calls of the day, and the records of each, every one in a quarter of its own."""
WRITERS, LATE_WRITERS = 4, 2
BEHIND_S = 2 * 86_400
"""How late is what some of them write: into the day that is rolled up."""
BESIDE_S = 2.0
"""How long drains are measured without a roll-up, for comparison."""

Say = Callable[[str], None]


def rolled_days(worlds: Worlds, result: Result, kills: int, seed: int, say: Say, kind: str = "sqlite") -> None:
    """`kills` are of processes that roll up, in the middle of it. The next one rolls up what is due, while the late
    writers end; on PostgreSQL all connections are cut once.
    """
    rng = random.Random(seed)
    with worlds.new(kind) as world:
        told = asyncio.run(_fill(world, rng))
        writers = [_writer(world, rng) for _ in range(WRITERS)]
        time.sleep(BESIDE_S)
        began_us = now()
        for kill in range(kills):
            told.add(_kill_and_finish(world, rng, cut=kill == kills // 2))
            _look_at_day(world, result)
            say(f"{kill + 1} of {kills} roll-ups killed")
        told.add(_stopped(writers))
        audit(world, told, result, runs=kills)
    _tell_of_drains(told, began_us, result)


def _kill_and_finish(world: World, rng: random.Random, *, cut: bool) -> Told:
    late = [_writer(world, rng, behind_s=BEHIND_S) for _ in range(LATE_WRITERS)]
    told = _begun(world, rng, until_done=False).kill()
    next_one = _begun(world, rng, until_done=True)
    if cut:
        _cut_connections(world)
    told.add(_stopped(late))
    told.add(next_one.end(60))
    return told


def _begun(world: World, rng: random.Random, *, until_done: bool) -> Victim:
    """In the middle of a roll-up."""
    roller = Victim(roll_up, world, until_done)
    roller.look_for(ROLLING, within=1, times=rng.randint(1, 4))
    return roller


async def _fill(world: World, rng: random.Random) -> Told:
    ledger = StoreLedger(world.url, pricing=price)
    connection = await ledger.connect()
    begin = (now() - BEHIND_S * 1_000_000) // DAY * DAY
    calls = list(_calls(begin, rng))
    await fill(connection, Source("filled", "soak", 1, begin), calls)
    await connection.aclose()
    await ledger.aclose()
    requests = {record.request_id or "" for call in calls for record in call.records}
    return Told(emitted=requests, records=set(requests))


def _calls(begin: Micros, rng: random.Random) -> Iterator[Call]:
    for number in range(CALLS):
        key = f"{rng.getrandbits(128):032x}"
        first = begin + rng.randrange(DAY // QUARTER - RECORDS) * QUARTER
        records = [record_of(key, first + nth * QUARTER, f"filled-{number}-{nth}") for nth in range(RECORDS)]
        part = Part(key, f"filled_{number}", first, user="ada")
        yield Call(ended(part, records[-1].at, "user_initiated"), Stay(key, "PA_1", "ada", None, first), records)


def _writer(world: World, rng: random.Random, *, behind_s: int = 0) -> Victim:
    writing = Writing(world, rng.getrandbits(32), gather_s=0.1, pause_s=0.2, behind_s=behind_s, tells_of_drains=True)
    writer = Victim(write, writing)
    writer.wait_for("writing")
    return writer


def _stopped(writers: Sequence[Victim]) -> Told:
    told = Told()
    for writer in writers:
        writer.stop()
    for writer in writers:
        told.add(writer.end(FLUSH_SECONDS + 30))
    return told


def _cut_connections(world: World) -> None:
    if world.url.startswith("postgresql"):
        asyncio.run(_terminate_all(world.url))


async def _terminate_all(url: str) -> None:
    conn = await asyncpg.connect(url)
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    await conn.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    await conn.close()


def _look_at_day(world: World, result: Result) -> None:
    """Nobody writes into it now: it is rolled up, and says what its sums do."""
    found = ledgered(world, ("sums", "parts", "rolled_days", "day_sums"))
    day = (now() - BEHIND_S * 1_000_000) // DAY * DAY
    if day not in {row["day"] for row in found.rolled_days if row["taken_by"] is None}:
        result.faults.append("the day was not rolled up in the end")
    compare_days(found, result)


def _tell_of_drains(told: Told, began_us: Micros, result: Result) -> None:
    drains = [(said["drained_at"], said["drained_ms"]) for said in told.said if "drained_ms" in said]
    without = sorted(took for at, took in drains if at < began_us)
    during = sorted(took for at, took in drains if at >= began_us)
    if not (without and during):
        result.faults.append("nobody drained")
        return
    result.notes.append(f"drains without a roll-up: {_figures(without)}; while days were rolled up: {_figures(during)}")


def _figures(took: Sequence[float]) -> str:
    at = {name: took[min(len(took) - 1, int(share * len(took)))] for name, share in (("median", 0.5), ("p99", 0.99))}
    return f"{len(took)}, median {at['median']:.0f}, p99 {at['p99']:.0f}, longest {took[-1]:.0f} ms"
