"""Stalls of the event loop that tracking causes during a call, its start and its end included.

    python -m benchmarks.stalls [--seconds 20] [--rounds 3] [--why]
    python -m benchmarks.stalls --long 600      # one call of 10 minutes, and the untracked one at the same time

A heartbeat of 1 ms in a job process says how late the loop is. A call of 20 events a second is tracked into a real
spool and a real SQLite ledger, in a process forked from a warmed one as LiveKit does, and in a cold one; beside each,
the same call untracked. Lateness is the clock's, and the goals are judged on the worst of all rounds: measure on a
machine that does nothing else. (What the kernel counts as a thread's wait for a processor is not taken off: our own
threads can be what the loop waits for, and at a wake-up on an idle processor it was seen to be longer than the wait.) A
pause of the whole virtual machine is not told apart: it can make a round miss, and shows in the untracked calls too.
--why tells what the other threads were at during each stall.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import job
from benchmarks.call import Call, turn
from benchmarks.table import Line, median, share, show

GOAL_P999_MS, GOAL_LONGEST_MS = 5.0, 10.0
EVENTS_PER_SECOND = 20
BEAT = 0.001
QUIET = 0.5
"""Seconds of heartbeat before and after the call."""
WORTH_TELLING_MS = 3.0


@dataclass(slots=True)
class Beats:
    """How late each beat was, in ms. What is told of the worst.

    `marks` are the seconds at which the call's phases began, `at` those of each beat.
    """

    late: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def during(self, phase: str) -> list[float]:
        """Lateness from the phase's mark to the next one."""
        names = list(self.marks)
        until = {name: self.marks[after] for name, after in itertools.pairwise(names)}
        begin, end = self.marks[phase], until.get(phase, float("inf"))
        return [late for late, at in zip(self.late, self.at, strict=True) if begin <= at < end]


async def heartbeat(beats: Beats, *, why: bool) -> None:
    clock = time.perf_counter
    while True:
        due = clock() + BEAT
        await asyncio.sleep(BEAT)
        now = clock()
        beats.late.append((now - due) * 1000)
        beats.at.append(now)
        if why and beats.late[-1] > WORTH_TELLING_MS:
            beats.told.append(_others(beats))


def _others(beats: Beats) -> str:
    """Where the other threads are: who held the interpreter has just let it go."""
    phase = list(beats.marks)[-1] if beats.marks else "before"
    lines = [f"{phase}: {beats.late[-1]:.1f} ms"]
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - there is no other way
        if ident != threading.get_ident():
            stack = traceback.extract_stack(frame)[-8:]
            lines.append("    " + " < ".join(f"{Path(s.filename).stem}:{s.lineno} {s.name}" for s in reversed(stack)))
    return "\n".join(lines)


async def _call(seconds: float, *, tracked: bool, why: bool) -> Beats:
    beats, call = Beats(), Call()
    beating = asyncio.create_task(heartbeat(beats, why=why))
    await asyncio.sleep(QUIET)
    _mark(beats, "start")
    tracking = _track(call) if tracked else None
    realtime = call.start()
    until, number = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        for event in turn(number):
            await asyncio.sleep(1 / EVENTS_PER_SECOND)
            realtime.emit("openai_server_event_received", event)
            if number == 2:
                beats.marks.setdefault("middle", time.perf_counter())
        number += 1
    _mark(beats, "end")
    call.close()
    if tracking is not None:
        assert (await tracking.aclose()).totals.requests == 2 * number, "the call was not counted"
    await asyncio.sleep(QUIET)
    beating.cancel()
    return beats


def _mark(beats: Beats, phase: str) -> None:
    beats.marks[phase] = time.perf_counter()


def _track(call: Call) -> Any:
    from livekit_tokens import track  # noqa: PLC0415 - a cold process has it from its script, see `in_process`

    return track(call)


def in_process(seconds: float, tracked: bool, why: bool) -> Beats:
    """In the job process: the script's imports, then its loop."""
    if tracked:
        from livekit_tokens import track  # noqa: F401, PLC0415
    return asyncio.run(_call(seconds, tracked=tracked, why=why))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--why", action="store_true")
    options.add_argument("--long", type=float, metavar="SECONDS")
    given = options.parse_args()
    if given.long is not None:
        return _long(given.long, why=given.why)
    calls = _calls(given.seconds, given.rounds, why=given.why)
    lines: list[Line] = []
    for name, untracked, goals in (
        ("warmed, first call of a ledger", "warmed, untracked", True),
        ("warmed", "warmed, untracked", True),
        ("cold", "cold, untracked", False),
    ):
        lines += _lines(name, calls[name], calls[untracked], goals=goals)
    title = (
        f"Stalls of the event loop, {EVENTS_PER_SECOND} events/s for {given.seconds:g} s, "
        f"heartbeat {BEAT * 1e3:g} ms, {given.rounds} rounds"
    )
    return show(title, lines, "the same calls in the same kind of process, untracked")


def _long(seconds: float, *, why: bool) -> int:
    """One call of each kind side by side, so that both have the same machine; its spool is drained all the while."""
    warmed = job.warmed()
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(job.run, warmed, in_process, seconds, tracked, why) for tracked in (True, False)]
        tracked, untracked = (call.result() for call in calls)
    print("\n".join(tracked.told))
    lines = _lines("warmed", [tracked], [untracked], goals=True)
    title = f"Stalls of the event loop in one call of {seconds:g} s, {EVENTS_PER_SECOND} events/s"
    return show(title, lines, "the same call untracked, at the same time")


def _calls(seconds: float, rounds: int, *, why: bool) -> dict[str, list[Beats]]:
    """Calls of each kind, in turn. The cold ones are only told: once is enough."""
    warmed, cold = job.warmed(), job.cold()
    calls: dict[str, list[Beats]] = defaultdict(list)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            calls["warmed, untracked"].append(job.run(warmed, in_process, seconds, False, why))
            for name in ("warmed, first call of a ledger", "warmed"):
                calls[name].append(job.run(warmed, in_process, seconds, True, why, folder=folder))
    calls["cold, untracked"].append(job.run(cold, in_process, seconds, False, why))
    calls["cold"].append(job.run(cold, in_process, seconds, True, why))
    for name, told in ((name, told) for name, found in calls.items() for beats in found for told in beats.told):
        print(f"{name}, {told}", flush=True)
    return calls


def _lines(name: str, tracked: list[Beats], untracked: list[Beats], *, goals: bool) -> list[Line]:
    def line(what: str, figure: Callable[[list[Beats]], float], goal: float | None = None) -> Line:
        return Line(f"{name}: {what}", figure(tracked), "ms", goal if goals else None, figure(untracked))

    def longest_during(phase: str) -> Callable[[list[Beats]], float]:
        return lambda calls: median([max(beats.during(phase)) for beats in calls])

    return [
        line("p99.9", lambda calls: share([late for beats in calls for late in beats.late], 0.999), GOAL_P999_MS),
        line("longest", lambda calls: max(max(beats.late) for beats in calls), GOAL_LONGEST_MS),
        line("longest of the middle round", lambda calls: median([max(beats.late) for beats in calls])),
        *(line(f"longest, {phase}, middle round", longest_during(phase)) for phase in tracked[0].marks),
    ]


if __name__ == "__main__":
    sys.exit(main())
