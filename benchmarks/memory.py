"""Memory that tracking takes of its own in a job process under LiveKit's forkserver.

    python -m benchmarks.memory [--turns 60] [--rounds 3]

USS (pages that no other process has) after a tracked call whose records are in the ledger, while the process still
lives, less that of a process which heard the same call untracked. Both are forked from the same warmed forkserver.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

import psutil

from benchmarks import job
from benchmarks.call import Call, turn
from benchmarks.table import Line, median, show

GOAL_MB = 20.0
EVENT_SECONDS = 0.002
MB = 1e6


async def _call(turns: int, *, tracked: bool) -> float:
    call = Call()
    tracking: Any = None
    if tracked:
        from livekit_tokens import track  # noqa: PLC0415 - the untracked process does without

        tracking = track(call)
    realtime = call.start()
    for number in range(turns):
        for event in turn(number):
            await asyncio.sleep(EVENT_SECONDS)
            realtime.emit("openai_server_event_received", event)
    call.close()
    if tracking is not None:
        summary = await tracking.aclose()
        assert summary.totals.requests == 2 * turns
    return float(psutil.Process().memory_full_info().uss) / MB


def in_process(turns: int, tracked: bool) -> float:
    return asyncio.run(_call(turns, tracked=tracked))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--turns", type=int, default=60)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    context = job.warmed()
    without, tracked = [], []
    for _ in range(given.rounds):
        without.append(job.run(context, in_process, given.turns, False))
        tracked.append(job.run(context, in_process, given.turns, True))
    lines = [
        Line("memory of tracking in a job process", median(tracked) - median(without), "MB", GOAL_MB),
        Line.of("the whole job process", tracked, "MB", reference=without),
    ]
    return show(f"Unique memory (USS) after {given.turns} turns, drained", lines, "the same call untracked")


if __name__ == "__main__":
    sys.exit(main())
