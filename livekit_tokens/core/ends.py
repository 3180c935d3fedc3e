"""Ends of requests that are written down as they were told, and whose record is not made yet."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import msgspec

from livekit_tokens.core import faults
from livekit_tokens.core.lines import Done
from livekit_tokens.domain.usage import UsageRecord

Make = Callable[[Done], UsageRecord]
"""Answers the record that the end of a request comes to."""
Write = Callable[[UsageRecord, str], object]
"""Takes the record that a pending request has come to, and the request's id."""

MOST = 16
"""The background makes their records twice a second; where it does not, each end beyond these makes one."""


class End(msgspec.Struct):
    """Of one request, of that part, and the record that it comes to, made once."""

    done: Done
    make: Make
    write: Write
    part: str = ""
    made: UsageRecord | None = None

    def record(self) -> UsageRecord:
        if self.made is None:
            self.made = self.make(self.done)
        return self.made


class Ends:
    """In the order in which they came."""

    def __init__(self) -> None:
        self._ends: deque[End] = deque()
        self._making = threading.RLock()

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, end: End) -> None:
        self._ends.append(end)

    def records_of(self, part: str) -> list[UsageRecord]:
        """What a part's come to. Who asks waits for no lock: a log handler may be what asks."""
        return [end.record() for end in list(self._ends) if end.part == part]

    def record_one(self) -> bool:
        """Of the oldest; False: there is none.

        Made without the lock, as that may say something, and written with it: who asks for all waits for those that
        another thread has begun to write.
        """
        if oldest := list(self._ends)[:1]:
            oldest[0].record()
        with self._making:
            if not self._ends:
                return False
            end = self._ends.popleft()
            try:
                end.write(end.record(), end.done.id)
            except Exception as error:  # noqa: BLE001 - it stays in flight: the taker makes it
                faults.note("a record could not be made of its figures", error)
            return True
