"""Time that is ours: what the clock says, less what a thread was ready and had to wait for a CPU.

On a machine that others use too, that wait is theirs. Linux counts it for each thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable


def cpu_wait() -> Callable[[], float]:
    """Milliseconds that this thread has been ready and waiting for a CPU; 0 where the kernel does not tell."""
    try:
        told = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
    except OSError:
        return lambda: 0.0
    return lambda: int(os.pread(told, 64, 0).split()[1]) / 1e6


class Stopwatch:
    """Milliseconds since it was made, in the thread that made it: `raw` by the clock, `own` without the wait."""

    def __init__(self) -> None:
        self._waited = cpu_wait()
        self._before, self._began = self._waited(), time.perf_counter()

    def stop(self) -> tuple[float, float]:
        raw = (time.perf_counter() - self._began) * 1000
        return raw, raw - min(raw, self._waited() - self._before)
