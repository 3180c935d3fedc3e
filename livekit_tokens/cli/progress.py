"""Progress on a terminal for what takes longer than a second; nothing anywhere else, and nothing on stdout."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

_T = TypeVar("_T")

AFTER_SECONDS = 1.0
_EVERY_SECONDS = 0.2


class Counted(Protocol):
    def __call__(self, done: int, of: int = ...) -> None: ...


@contextmanager
def counting(many: int, what: str) -> Iterator[Counted]:
    """Takes how many of `many` are done, or of how many, once that is known; told often, it draws rarely."""
    begun = drawn = time.monotonic()
    terminal = sys.stderr.isatty()

    def at(done: int, of: int = many) -> None:
        nonlocal drawn
        now = time.monotonic()
        if terminal and now - begun > AFTER_SECONDS and now - drawn > _EVERY_SECONDS:
            drawn = now
            _draw(f"{done:,} of {max(of, done):,} {what}")

    try:
        yield at
    finally:
        if drawn > begun:
            _draw("")


async def waited(work: Awaitable[_T], doing: str = "asking the ledger") -> _T:
    """The work's answer; how long it has been asked for is shown on a terminal."""
    task = asyncio.ensure_future(work)
    if not sys.stderr.isatty():
        return await task
    begun = time.monotonic()
    done, _ = await asyncio.wait({task}, timeout=AFTER_SECONDS)
    if done:
        return await task
    try:
        while not (await asyncio.wait({task}, timeout=_EVERY_SECONDS))[0]:
            _draw(f"{doing} ... {time.monotonic() - begun:.0f} s")
        return await task
    finally:
        _draw("")


def _draw(text: str) -> None:
    # Back to the line's beginning, the text, and what is left of the line erased.
    print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
