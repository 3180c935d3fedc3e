"""A wall clock of our own in a child: `time.time` and `time.time_ns`, which can be moved, also by a signal."""

from __future__ import annotations

import signal
import time

BACK_AN_HOUR, FORWARD_A_DAY = -3600, 86_400
SIGNALS = {BACK_AN_HOUR: signal.SIGRTMIN + 1, FORWARD_A_DAY: signal.SIGRTMIN + 2}

_really_ns = time.time_ns


class Clock:
    def __init__(self) -> None:
        self._offset_ns = 0

    def time_ns(self) -> int:
        return _really_ns() + self._offset_ns

    def time(self) -> float:
        return self.time_ns() / 1e9

    def move(self, seconds: float) -> None:
        self._offset_ns += int(seconds * 1e9)


def own_clock() -> Clock:
    """From here on this process has a clock of its own, and each of the signals moves it."""
    clock = Clock()
    time.time_ns, time.time = clock.time_ns, clock.time
    for seconds, number in SIGNALS.items():
        signal.signal(number, lambda *_, by=seconds: clock.move(by))
    return clock
