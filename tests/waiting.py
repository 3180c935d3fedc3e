"""Waiting for what must come, however busy the machine is: only what never comes fails a test, after a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE_SECONDS = 60.0
"""Longer than any machine that works takes for anything that a test waits for."""


async def until(true: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Raises TimeoutError where it does not come to be true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def wait_until(true: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """The same, blocking."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.005)
