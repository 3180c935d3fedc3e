"""The thread in which what went over the wire is read and counted, so that no call waits for it.

A request in flight is looked at when it begins, and 20 times a second until it is settled: that often what has arrived
is counted, dropped from memory, and told to the spool. It sleeps while nothing is in flight but what rests: responses
that run on in the background.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from livekit_tokens.core import faults
from livekit_tokens.core.aside import aside

TICK_SECONDS = 0.05
"""How old a pending request's counts can be: of a chat, about four tokens."""
MOST_RESTING, LONGEST_REST_SECONDS = 256, 24 * 3600.0
"""How many responses that run on in the background are waited for, and for how long: whose result comes by a webhook,
nobody asks for."""
SETTLE_SECONDS = 0.5
"""How long an end (of a part, of the process) waits for what is still to be counted."""


class Counted(Protocol):
    """A request in flight, as the thread sees it."""

    @property
    def part(self) -> str | None:
        """Whose part it is, once the thread has found out."""
        ...

    @property
    def began(self) -> float:
        """Monotonic, in seconds."""
        ...

    @property
    def ended(self) -> bool: ...

    @property
    def rests(self) -> bool:
        """Whether it waits for what others bring."""
        ...

    def advance(self) -> bool:
        """Count what has come since; True when it is settled."""
        ...

    def give_up(self) -> None:
        """Wait no longer for what runs on in the background."""
        ...


class _Counting:
    def __init__(self) -> None:
        self._open: dict[int, Counted] = {}
        self._resting: dict[int, Counted] = {}
        self._wakings: SimpleQueue[None] = SimpleQueue()
        self._settled = threading.Condition()
        self._starting, self._moving = threading.Lock(), threading.Lock()
        self._thread: threading.Thread | None = None

    def follow(self, request: Counted) -> None:
        """Wakes the thread, which runs as soon as the caller lets go of the interpreter."""
        self._open[id(request)] = request
        if self._thread is None:
            self._start()
        self._wakings.put(None)

    def unsettled(self, part: str | None) -> bool:
        """Whether requests (of a part, or of all) have ended that are not recorded yet."""
        return any(
            request.ended and (part is None or request.part in (None, part)) for request in list(self._open.values())
        )

    def settle(self, part: str | None, seconds: float) -> bool:
        """Wait until all that has ended is recorded, at most so long."""
        if not self.unsettled(part):
            return True
        self._wakings.put(None)
        with self._settled:
            return self._settled.wait_for(lambda: not self.unsettled(part), seconds)

    def give_up(self, part: str) -> None:
        for request in [*self._open.values(), *self._resting.values()]:
            if request.part == part:
                request.give_up()
                self.resume(request)

    def resume(self, request: Counted) -> None:
        """One that rests has something to be counted."""
        with self._moving:
            self._resting.pop(id(request), None)
            self.follow(request)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="livekit_tokens_counting", daemon=True)
                self._thread = thread  # it forgets itself when it dies, which may be at once
                try:
                    thread.start()
                except BaseException:
                    self._thread = None  # the next request tries again
                    raise

    def _run(self) -> None:
        try:
            while True:
                self._wait()
                self._count()
        finally:  # only by what no request is guilty of; the next one starts it again
            self._thread = None
            faults.note("the counting thread has died; the next request starts it again")

    def _count(self) -> None:
        for key, request in list(self._open.items()):
            if _advanced(request):
                self._open.pop(key, None)
            elif request.rests:
                self._lay_to_rest(key, request)
        with self._settled:
            self._settled.notify_all()

    def _lay_to_rest(self, key: int, request: Counted) -> None:
        with self._moving:
            if not request.rests:  # it was given up in this moment
                return
            self._resting[key] = request
            self._open.pop(key, None)
        oldest = next(iter(self._resting.values()))
        if len(self._resting) > MOST_RESTING or time.monotonic() - oldest.began > LONGEST_REST_SECONDS:
            oldest.give_up()
            self.resume(oldest)

    def _wait(self) -> None:
        """Until something begins or is waited for, or for a tick while something is in flight."""
        with suppress(Empty):
            self._wakings.get(timeout=TICK_SECONDS if self._open else None)
            while True:  # one look is enough for all of them
                self._wakings.get_nowait()


def _advanced(request: Counted) -> bool:
    try:
        return request.advance()
    except BaseException as error:  # noqa: BLE001 - one request's fault, a panic of a library's too, stops no other
        faults.note("a request on the wire could not be counted", error)
        return True


_counting = _Counting()


def follow(request: Counted) -> None:
    """Count this request from now on until it is settled. Costs the caller microseconds."""
    _counting.follow(request)


def resume(request: Counted) -> None:
    """One that rests has something to be counted."""
    _counting.resume(request)


def settle(part: str | None, seconds: float) -> bool:
    """Wait, blocking, until what has ended (of a part, or all) is recorded; False if that took longer."""
    return _counting.settle(part, seconds)


async def settled(part: str, seconds: float) -> None:
    """The same for a call's loop, which goes on meanwhile."""
    if _counting.unsettled(part):
        with suppress(TimeoutError):
            await aside(partial(_counting.settle, part, seconds), seconds)


async def finished(part: str) -> None:
    """A call ends: the same, and what runs on in the background is waited for no longer."""
    await settled(part, SETTLE_SECONDS)
    _counting.give_up(part)
    await settled(part, SETTLE_SECONDS)


def unsettled(part: str | None) -> bool:
    """Whether a part has requests (None: any has) that have ended and are not recorded yet."""
    return _counting.unsettled(part)


def _forget() -> None:
    """A forked child has neither the thread nor its requests."""
    global _counting  # noqa: PLW0603 - one a process
    _counting = _Counting()


os.register_at_fork(after_in_child=_forget)
