"""Work that blocks, aside from a call's loop and from its executor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

_T = TypeVar("_T")


async def aside(work: Callable[[], _T], seconds: float | None = None) -> _T:
    """What `work` answers, done in a thread of its own, in this context. Raises TimeoutError if that takes longer; what
    was begun is done all the same.

    Not in the loop's default executor, as `asyncio.to_thread` would: that is the host's, whose own work may fill it.
    """
    doing = asyncio.get_running_loop().run_in_executor(_threads, partial(copy_context().run, work))
    return await asyncio.wait_for(doing, seconds)


class _OwnThreads(Executor):
    """A daemon thread for each piece of work, so that none waits for another, and no end of a process for a disk."""

    def submit(self, work: Callable[..., _T], /, *args: Any, **named: Any) -> Future[_T]:
        done: Future[_T] = Future()
        done.set_running_or_notify_cancel()  # who waits no longer does not keep it from being done
        thread = threading.Thread(target=_do, args=(done, partial(work, *args, **named)), name="livekit_tokens_aside")
        thread.daemon = True
        thread.start()
        return done


def _do(done: Future[_T], work: Callable[[], _T]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whoever waits is told
        done.set_exception(error)


_threads = _OwnThreads()
