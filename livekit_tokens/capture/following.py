"""Following a realtime conversation beside its call: what handlers note is read in the thread that counts.

A handler notes what an event says and goes on; what it means for the conversation (counting texts, learning from
figures, expecting the next response) is worked out up to 50 ms later, in the order in which it was noted. Who needs
the state as it is now catches up first, in their own thread. What must survive a kill is in the spool before.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import ref

from livekit_tokens.capture.wire import counting
from livekit_tokens.core import faults

MOST_NOTED = 256
"""So many notes wait: if the thread does not get to run, they are read where they are noted."""

_behind: set[Follower] = set()
"""Those with notes that are not read yet; held here, whatever becomes of their session."""
_here = threading.local()


class Follower:
    """One conversation's notes. They come from one thread, and are read one at a time, in any; `after` once all are."""

    def __init__(self, after: Callable[[], None]) -> None:
        self._notes: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._reading = threading.Lock()
        self._after = after
        self._over = False
        counting.follow(_Looked(ref(self)))

    def note(self, read: Callable[..., None], *told: Any) -> None:
        """To be read soon: `read(*told)`."""
        self._notes.append((read, told))
        _behind.add(self)
        if self._over or len(self._notes) >= MOST_NOTED:
            self.catch_up()

    def catch_up(self) -> None:
        """Read all that was noted, here and now. Does nothing from within what is being read: it is in order there."""
        if self not in _behind or getattr(_here, "reads", False):
            return
        with self._reading:
            _here.reads = True
            try:
                while self._notes:
                    read, told = self._notes.popleft()
                    _try(read, *told)
                _try(self._after)
            finally:
                _here.reads = False
            _behind.discard(self)
            if self._notes:  # noted in between
                _behind.add(self)

    def leave(self) -> None:
        """The conversation is over: what is noted yet is read at once, and the thread looks no more."""
        self._over = True
        self.catch_up()

    @property
    def is_over(self) -> bool:
        return self._over


class _Looked:
    """A conversation as the counting thread sees it, which must not keep it."""

    part = ""
    ended = False

    def __init__(self, follower: ref[Follower]) -> None:
        self._follower = follower

    def advance(self) -> bool:
        follower = self._follower()
        if follower is None:
            return True
        follower.catch_up()
        return follower.is_over


def _try(read: Callable[..., None], *told: Any) -> None:
    try:
        read(*told)
    except Exception as error:  # noqa: BLE001 - one event's fault must not stop the following of others
        faults.note("a realtime event could not be followed", error)


def catch_up() -> None:
    """Read all that was noted of any conversation of this process."""
    for follower in tuple(_behind):
        follower.catch_up()


os.register_at_fork(after_in_child=_behind.clear)
