"""Killed around a commit: the process that drains dies before it, inside the transaction, or right after it."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.soak.audit import audit
from tests.soak.dying_ledger import Death, Moment
from tests.soak.processes import Victim
from tests.soak.recovery import recover
from tests.soak.result import Result
from tests.soak.taker import Taking, take
from tests.soak.worlds import Worlds
from tests.soak.writer import Writing, write

MOMENTS: tuple[Moment, ...] = ("after", "inside", "before")


def killed_at_commit(worlds: Worlds, result: Result, runs: int, seed: int, say: Callable[[str], None]) -> None:
    """A run: a writer dies at a commit of its own, then a taker dies at the commit that brings the rest."""
    rng = random.Random(seed)
    for run in range(runs):
        with worlds.new() as world:
            death = Death(MOMENTS[run % 3], batch=rng.randint(1, 4))
            writer = Victim(write, Writing(world, rng.getrandbits(32), gather_s=0.05, death=death))
            told = writer.end(60, may_kill_itself=True)
            taker = Victim(take, Taking(world, Death(MOMENTS[run // 3 % 3])))
            told.add(taker.end(60, may_kill_itself=True))
            recover(world, result, rng)
            audit(world, told, result, runs=1)
        say(f"{run + 1} of {runs} deaths at a commit")
    result.notes.append("each run kills a writer at its own commit, and the taker of its spool at the next")
