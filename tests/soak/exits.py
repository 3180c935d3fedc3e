"""A process that leaves right after its last event, in every way there is; a real interpreter each."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import asyncpg

from tests.soak.audit import audit, ledgered
from tests.soak.leaver import WAYS
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.told import Listener, Told
from tests.soak.worlds import World, Worlds


def left_at_once(
    worlds: Worlds, result: Result, runs: int, seed: int, say: Callable[[str], None], kind: str = "sqlite"
) -> None:
    """`runs` times, each way in turn. PostgreSQL is named, as a fleet's is: its address is looked up at the exit."""
    rng = random.Random(seed)
    at_once: dict[str, bool] = {}
    for run in range(runs):
        way = tuple(WAYS)[run % len(WAYS)]
        with worlds.new(kind) as made:
            world = replace(made, url=made.url.replace("127.0.0.1", "localhost"))
            told = _leave(world, way, rng.getrandbits(32))
            at_once[way] = _is_home(world, told)
            recover(world, result, rng)
            audit(world, told, result, runs=1)
        say(way)
    if not any(at_once.values()):
        result.faults.append("no way of leaving brought everything into the ledger")
    complete = ", ".join(way for way, done in at_once.items() if done) or "none"
    result.notes.append(f"ways: {', '.join(at_once)}; all in the ledger before anybody took over: {complete}")


def _is_home(world: World, told: Told) -> bool:
    try:
        return len(ledgered(world).records) == len(told.records)
    except (sqlite3.Error, asyncpg.PostgresError):  # there is no ledger yet
        return False


def _leave(world: World, way: str, seed: int) -> Told:
    ours, theirs = Pipe(duplex=False)
    command = [sys.executable, "-m", "tests.soak.leaver", way, str(world.folder), world.url, str(seed)]
    listener = Listener(ours)
    try:
        left = subprocess.run(
            [*command, str(theirs.fileno())],
            check=False,
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        theirs.close()
    told = listener.all_told()
    if (left.returncode, left.stderr.count("Traceback")) != WAYS[way]:
        told.said.append({"fault": f"{way} ended with {left.returncode}: {left.stderr[-300:]}"})
    return told
