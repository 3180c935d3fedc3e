"""What it takes to begin: importing the package, and the first `track()` of a job process.

    python -m benchmarks.start [--rounds 9]
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections import defaultdict

from benchmarks import job
from benchmarks.call import Call
from benchmarks.table import Line, median, show

GOAL_IMPORT_MS, GOAL_TRACK_MS = 100.0, 5.0
IMPORTS = {
    "nothing": "",
    "package": "import livekit_tokens",
    "livekit": "import livekit.agents",
    "track": "from livekit_tokens import track",
    "both": "import livekit.agents\nfrom livekit_tokens import track",
}


def interpreter_ms(code: str) -> float:
    """A fresh interpreter from its start to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - began) * 1000


async def _begin() -> tuple[float, float]:
    """Milliseconds of the first `track()`, which makes the process's source, and of LiveKit's `AgentSession()`."""
    from livekit.agents import AgentSession  # noqa: PLC0415 - loaded since the fork

    from livekit_tokens import track  # noqa: PLC0415

    call = Call()
    began = time.perf_counter()
    AgentSession()
    made = time.perf_counter()
    track(call)  # type: ignore[arg-type]
    return (time.perf_counter() - made) * 1000, (made - began) * 1000


def in_process() -> tuple[float, float]:
    return asyncio.run(_begin())


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=9)
    given = options.parse_args()
    times = defaultdict(list)
    for _ in range(given.rounds):
        for name, code in IMPORTS.items():
            times[name].append(interpreter_ms(code))
    took = {name: median(found) for name, found in times.items()}
    bare = took["nothing"]
    context = job.warmed()
    begun = [job.run(context, in_process) for _ in range(given.rounds)]
    tracks, sessions = zip(*begun, strict=True)
    livekit = took["livekit"] - bare
    lines = [
        Line("import livekit_tokens, over a bare interpreter", took["package"] - bare, "ms", GOAL_IMPORT_MS, livekit),
        Line("from livekit_tokens import track", took["track"] - bare, "ms", reference=livekit),
        Line("the same, where livekit.agents is imported", took["both"] - took["livekit"], "ms", reference=livekit),
        Line("first track() of a warmed job process, median", median(tracks), "ms", GOAL_TRACK_MS, median(sessions)),
        Line("first track() of a warmed job process, slowest", max(tracks), "ms", reference=max(sessions)),
    ]
    return show(
        f"To begin, median of {given.rounds}", lines, "import livekit.agents; for track(), LiveKit's AgentSession()"
    )


if __name__ == "__main__":
    sys.exit(main())
