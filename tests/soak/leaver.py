"""`python -m tests.soak.leaver WAY FOLDER URL SEED FD`: track a call, and leave right after its last event."""

from __future__ import annotations

import asyncio
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from livekit_tokens import runtime
from tests.soak.load import Load
from tests.soak.own_runtime import runtime_in
from tests.soak.told import Teller
from tests.soak.worlds import World

WAYS = {"return": (0, 0), "sys.exit": (3, 0), "exception": (1, 1), "loop's end": (0, 0), "os._exit": (4, 0)}
"""Of each way the exit code, and how many tracebacks are the host's own."""


# Two in production; what is looked at here is that an exit brings it all, and not how busy the machine is.
runtime.EXIT_SECONDS = 20.0


def main(way: str, folder: str, url: str, seed: str, pipe: str) -> None:
    load = Load(runtime_in(World(Path(folder), url)).recorder, Teller(Connection(int(pipe))), int(seed), 0.0)
    if way == "loop's end":
        asyncio.run(_in_a_loop(load))
        return
    _call(load)
    match way:
        case "sys.exit":
            sys.exit(3)
        case "exception":
            raise RuntimeError("the host's own")
        case "os._exit":
            os._exit(4)


async def _in_a_loop(load: Load) -> None:
    _call(load)


def _call(load: Load) -> None:
    for _ in range(20):
        load.step()
    load.record()


if __name__ == "__main__":
    main(*sys.argv[1:])
