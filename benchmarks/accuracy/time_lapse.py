"""A loop in which waiting takes no time, and work neither: what happens is settled by the seed, not by the machine.

Its clock stands still while anything is to be done, and leaps to the next timer when nothing is. A busy machine would
otherwise cut a call some hundred milliseconds after the moment that was drawn, with what was sent meanwhile unread.
`time.monotonic` tells the same time while such a loop runs.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from collections.abc import Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar
from unittest.mock import patch

_T = TypeVar("_T")

_FOR_OTHERS = 0.002
"""Real seconds to wait for what runs in a thread."""


class _Leaping(selectors.DefaultSelector):
    """Waits for nobody but threads."""

    def __init__(self) -> None:
        super().__init__()
        self.now = time.monotonic()
        self.in_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.in_threads or timeout is None:
            return super().select(_FOR_OTHERS)
        os.sched_yield()  # the kernel may still be bringing over what was sent
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Leaping) -> None:
        super().__init__(selector)
        self._leaping = selector

    def time(self) -> float:
        return self._leaping.now

    def run_in_executor(self, executor: Executor | None, func: Any, *args: Any) -> asyncio.Future[Any]:
        self._leaping.in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._is_done)
        return future

    def _is_done(self, _: asyncio.Future[Any]) -> None:
        self._leaping.in_threads -= 1


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run it to its end, as `asyncio.run` does."""
    selector = _Leaping()
    with (
        patch.object(time, "monotonic", lambda: selector.now),
        asyncio.Runner(loop_factory=lambda: _Loop(selector)) as runner,
    ):
        return runner.run(work)
