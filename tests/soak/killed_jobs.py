"""SIGKILL on real job processes in the middle of real calls; the provider's bill against what is recovered."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from livekit_tokens.bootstrap import recover
from livekit_tokens.demo.bill import Billed
from livekit_tokens.demo.call import Caller
from livekit_tokens.demo.plan import Knobs
from livekit_tokens.demo.provider import Provider
from livekit_tokens.demo.server import API_KEY, API_SECRET, LiveKitServer, NoLiveKitServer, find_or_build
from livekit_tokens.demo.worker import Worker
from livekit_tokens.settings import Settings
from tests.soak.audit import Ledgered, Row, compare_sums, ledgered
from tests.soak.result import Result
from tests.soak.worlds import World, Worlds

AGENT = Path(__file__).parent / "agents" / "acknowledging_agent.py"
CONVERSATION = Knobs(script=(0.8, 6.0, 6.0), speed=(1.2, 1.5), silence_ms=300)
CALLS_AT_ONCE = 2
STAGES = ("greeting", "after the greeting", "in an answer", "hanging up")
ENDED_FIRST = "ended before the kill"
"""What became of some that were hanging up. They are calls like any other, and no kills."""

Say = Callable[[str], None]


def killed_jobs(worlds: Worlds, result: Result, runs: int, seed: int, say: Say) -> None:
    """One worker, many calls, each job killed; one recovery; then the ledger beside the bill."""
    try:
        path = find_or_build()
    except NoLiveKitServer as reason:
        result.skipped = str(reason)
        return
    with worlds.new() as world:
        asyncio.run(_killed_jobs(path, world, result, runs, random.Random(seed), say))


async def _killed_jobs(path: Path, world: World, result: Result, runs: int, rng: random.Random, say: Say) -> None:
    settings = Settings(database_url=world.url, spool_dir=world.folder / "spool")
    acknowledged = world.folder / "acknowledged"
    async with Provider(rng.getrandbits(16), CONVERSATION) as provider, LiveKitServer(path) as server:
        env = {
            **server.env,
            "PROVIDER_URL": provider.base_url,
            "ACKNOWLEDGED_FILE": str(acknowledged),
            "LIVEKIT_TOKENS_DATABASE_URL": settings.database_url,
            "LIVEKIT_TOKENS_SPOOL_DIR": str(settings.spool_dir),
        }
        worker = Worker(AGENT, env)
        try:
            await worker.ready()
            stages = await _kill_calls(server, worker, runs, rng, say)
            await asyncio.sleep(0.5)  # the provider notices the closed sockets and bills
        finally:
            await worker.stop()
    recovered = await recover(settings)
    result.runs += runs
    result.notes.append(f"killed {_counted(stages)}; the last takeover alone found {recovered.sources} spools")
    _compare(ledgered(world), _acknowledged(acknowledged), provider.bill.entries, stages, result)


async def _kill_calls(server: LiveKitServer, worker: Worker, runs: int, rng: random.Random, say: Say) -> list[str]:
    turn = asyncio.Semaphore(CALLS_AT_ONCE)
    done: list[str] = []

    async def one(number: int, stage: str, wait: float) -> None:
        async with turn:
            killed = await _kill_a_call(server, worker, f"soak-{number}", stage, wait)
            done.append(stage if killed else ENDED_FIRST)
            say(f"{len(done) - done.count(ENDED_FIRST)} of {runs} jobs killed")

    stages = [rng.choices(STAGES, (2, 2, 6, 2))[0] if number else "in an answer" for number in range(runs)]
    await asyncio.gather(*(one(number, stage, rng.random()) for number, stage in enumerate(stages)))
    for number in itertools.count(runs):
        if len(done) - done.count(ENDED_FIRST) >= runs:
            return done
        await one(number, "in an answer", rng.random())
    raise AssertionError


async def _kill_a_call(server: LiveKitServer, worker: Worker, room: str, stage: str, wait: float) -> bool:
    """Whether there was still something to kill."""
    async with Caller(server.url, room=room, api_key=API_KEY, api_secret=API_SECRET, identity="ada") as caller:
        began = await worker.line(f"room={room}", within=20)
        found = re.search(r"job begins pid=(\d+)", began)
        assert found is not None
        await _talk_until(caller, stage, wait)
        try:
            worker.kill_job(int(found[1]))
        except ProcessLookupError:
            return False
        await worker.job_ended(int(found[1]))
        return True


async def _talk_until(caller: Caller, stage: str, wait: float) -> None:
    if stage == "greeting":
        await caller.hear(0.1 + 0.4 * wait)
        return
    await caller.hear_out(quiet=0.3)
    if stage == "after the greeting":
        return
    await caller.say(0.8)
    await caller.hear(0.1 + 1.5 * wait)
    if stage == "hanging up":
        await caller.leave()
        await asyncio.sleep(0.6 * wait)


# -- the ledger beside the bill ---------------------------------------------------------------------------------------


def _acknowledged(file: Path) -> dict[str, str]:
    """The last that was known of each request for certain: that it was in flight, or its figures."""
    lines = file.read_text().splitlines() if file.exists() else []
    return {request: heard for heard, request in map(str.split, lines)}


def _compare(
    found: Ledgered, acknowledged: Mapping[str, str], bill: list[Billed], stages: list[str], result: Result
) -> None:
    result.emitted += len(bill)
    result.acknowledged += len(acknowledged)
    result.stored += len(found.records)
    times = Counter(row["request_id"] for row in found.records)
    result.twice += sum(count - 1 for count in times.values())
    stored = {row["request_id"]: row for row in found.records}
    billed = {entry.id: entry for entry in bill}
    result.lost += sum(
        not is_kept(stored.get(request), heard, billed.get(request)) for request, heard in acknowledged.items()
    )
    if strangers := stored.keys() - billed.keys():
        result.faults.append(f"{len(strangers)} records are on no bill")
    compare_sums(found, result)
    _compare_cut(stored, bill, result)
    _compare_ends(found, stages, result)


def is_kept(row: Row | None, heard: str, billed: Billed | None) -> bool:
    """What was in flight has a record, an estimate if need be; what had figures has these."""
    if row is None or heard == "in_flight":
        return row is not None
    return billed is not None and row["provenance"] == "reported" and json.loads(row["units"]) == billed.units


def _compare_cut(stored: dict[str, dict], bill: list[Billed], result: Result) -> None:
    """What the provider generated for a killed job: an estimate each, and how near it comes."""
    cut = [entry for entry in bill if entry.reason == "socket_closed"]
    estimates = {key: row for key, row in stored.items() if row["provenance"] == "estimated"}
    missing = [entry for entry in cut if entry.id not in stored]
    guessed = sum(sum(json.loads(row["units"]).values()) for row in estimates.values())
    true = sum(sum(entry.units.values()) for entry in bill if entry.id in estimates)
    unseen = [entry for entry in bill if entry.id not in stored and entry.delivered]
    result.notes.append(
        f"{len(cut)} responses were cut off by a kill, {len(estimates)} are estimated "
        f"({guessed:,} tokens for {true:,} billed), {len(missing)} were not known to be in flight; "
        f"{len(unseen)} delivered figures came too late to be written"
    )


def _compare_ends(found: Ledgered, stages: list[str], result: Result) -> None:
    """A killed call is abandoned; one that was killed while it hung up may have closed."""
    states = Counter(row["status"] for row in found.parts)
    hung_up = stages.count("hanging up") + stages.count(ENDED_FIRST)
    if states["open"] or states["closed"] > hung_up or states.total() != len(stages):
        result.faults.append(f"{len(stages)} calls ({hung_up} hanging up) ended as {dict(states)}")


def _counted(stages: list[str]) -> str:
    return ", ".join(f"{stage} {count}" for stage, count in sorted(Counter(stages).items()))
