"""What it takes to begin: importing the package, and the first `track()` of a job process.

    python -m benchmarks.start [--rounds 9]

Each figure is from a process of its own. Times are the clock's: measure on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time

from benchmarks import job
from benchmarks.call import Call
from benchmarks.table import Line, show

GOAL_IMPORT_MS, GOAL_TRACK_MS = 100.0, 5.0

_TIMED = """
import importlib, json, time
took = []
for module, name in {steps!r}:
    began = time.perf_counter()
    found = importlib.import_module(module)
    name and getattr(found, name)
    took.append((time.perf_counter() - began) * 1000)
print(json.dumps(took))
"""


def imports_ms(*steps: tuple[str, str | None]) -> list[float]:
    """What each import takes in a fresh interpreter, after those before it. A name is taken `from` its module."""
    code = _TIMED.format(steps=steps)
    told = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    took: list[float] = json.loads(told.stdout)
    return took


async def _begin() -> tuple[float, float]:
    """Milliseconds of the first `track()`, which makes the process's source, and of LiveKit's own beginning."""
    from livekit.agents import AgentSession  # noqa: PLC0415 - loaded before the fork

    from livekit_tokens import track  # noqa: PLC0415
    from livekit_tokens.capture.part import UNTRACKED  # noqa: PLC0415

    call, clock = Call(), time.perf_counter
    began = clock()
    AgentSession()
    made = clock()
    tracking = track(call)
    tracked = clock()
    assert tracking.session_id != UNTRACKED
    return (tracked - made) * 1000, (made - began) * 1000


def in_process() -> tuple[float, float]:
    return asyncio.run(_begin())


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=9)
    given = options.parse_args()
    alone, livekit, after, whole = [], [], [], []
    context = job.warmed()
    begun = []
    for _ in range(given.rounds):
        alone += imports_ms(("livekit_tokens", None))
        livekits, then = imports_ms(("livekit.agents", None), ("livekit_tokens", "track"))
        livekit.append(livekits)
        after.append(then)
        whole += imports_ms(("livekit_tokens", "track"))
        begun.append(job.run(context, in_process))
    tracks, sessions = zip(*begun, strict=True)
    lines = [
        Line.of("import livekit_tokens", alone, "ms", GOAL_IMPORT_MS, reference=livekit),
        Line.of("from livekit_tokens import track", whole, "ms", reference=livekit),
        Line.of("the same after import livekit.agents", after, "ms", reference=livekit),
        Line.of("first track() of a warmed job process", tracks, "ms", GOAL_TRACK_MS, reference=sessions),
        Line("the slowest of them", max(tracks), "ms", reference=max(sessions)),
    ]
    reference = "import livekit.agents; for track(), LiveKit's AgentSession() on the line before"
    return show(f"To begin, median of {given.rounds}", lines, reference)


if __name__ == "__main__":
    sys.exit(main())
